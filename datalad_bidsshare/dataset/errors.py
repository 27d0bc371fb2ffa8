"""Errors of the dataset room."""

from __future__ import annotations

__all__ = ["BareRepositoryError", "DatasetError", "NotADatasetError"]


class DatasetError(Exception):
    """A dataset that cannot be read, or a tool that is missing.

    The text is for the user: what is wrong with which dataset, and what to do next.
    """


class NotADatasetError(DatasetError):
    """A directory that is not the root of a git repository."""


class BareRepositoryError(DatasetError):
    """A repository without a work tree: it lists no files before it is cloned."""
