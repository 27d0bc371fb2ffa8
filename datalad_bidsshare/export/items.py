"""What is exported: parts (one a dataset) and the files in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.plan.choose import Choice

if TYPE_CHECKING:
    from datalad_bidsshare.export.tables import Kind

__all__ = ["How", "Item", "Part", "Recipe", "Settled"]

#: How the content of a file is had: git has it, the annex has it, it is read where another
#: repository or a store has it, or it must be fetched; or it is absent and not needed, since its
#: key tells enough of the file that stands at the destination.
How = Literal["git", "present", "store", "fetch", "standing"]


class Part:
    """The selected files of one dataset, and where they go.

    Parameters
    ----------
    choice
        The files.
    mount
        Where the dataset is mounted in the one given; ``''`` for that itself.
    """

    def __init__(self, choice: Choice, mount: str) -> None:
        self.choice = choice
        self.mount = mount
        self.prefix = f"{mount}/" if mount else ""
        #: Root of the dataset.
        self.root = choice.visit.root
        #: The same as text, and with a separator behind it.
        self.name = str(self.root)
        self.base = os.path.join(self.name, "")
        #: Why files ride along that were not asked for, by path.
        self.riding = choice.riding
        #: Tells what the name of one of its files says.
        self.entities: Callable[[str], Mapping[str, str]] = choice.visit.selector.entities


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file whose content is not exported as it is.

    Attributes
    ----------
    kind
        Which table it is (see `tables.is_table`), or ``'description'``.
    root
        The BIDS root that it is of, as a target path; ``''`` for the destination itself.
    digest
        Of all that decides about the outcome, besides the content.
    """

    kind: Kind | Literal["description"]
    root: str
    digest: str


class Settled(NamedTuple):
    """A file that nothing is to be done for, or can be.

    Attributes
    ----------
    part, path, target
        The file, its path in its dataset, and the target path.
    status
        As in DataLad's result records.
    message
        What to know or to do.
    bytesize
        Of the content, or None if that is not known.
    key
        git-annex key, if that is known and there is one.
    """

    part: Part
    path: str
    target: str
    status: str
    message: str
    bytesize: int | None
    key: str | None


@dataclass(slots=True)
class Item:
    """A file that is to be written, or looked at more closely.

    Attributes
    ----------
    part, path, target
        The file, its path in its dataset, and the target path.
    info
        Its content; of a link within the dataset, that of the file it leads to.
    source_id
        Tells versions apart: same source, same content.
    how
        How the content is had.
    source
        The content, or the directory and the path beneath it where it lies; None if it is not
        yet known.
    recipe
        How the content is changed, or None.
    standing
        Size and time stamp (ns) of the file that stands at the destination, or None.
    unlisted
        Whether no earlier export vouches for that file.
    """

    part: Part
    path: str
    target: str
    info: FileInfo
    source_id: str
    how: How
    source: bytes | tuple[str, str] | None
    recipe: Recipe | None = None
    standing: tuple[int, int] | None = None
    unlisted: bool = False
    #: Whether the file that stands there is what an export that did not end has made.
    ours: bool = False
    #: Whether that file is compared though an earlier export vouches for it.
    rechecked: bool = False
    #: Bytes that had to be fetched for it.
    transferred: int = 0
    #: How often its content was found, and was gone when it was to be read.
    lost: int = 0

    @property
    def is_executable(self) -> bool:
        """Whether git has it as a program."""
        return self.info.mode == "100755"
