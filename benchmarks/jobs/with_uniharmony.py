"""Copy images of a dataset to a directory with uniharmony: hidden clone, then dropped.

Usage: with_uniharmony.py URL DEST SUBJECTS
"""

from __future__ import annotations

import sys

from uniharmony.datasets import download_bids_dataset


def main(url: str, target: str, subjects: str) -> None:
    download_bids_dataset(
        dataset_url=url,
        target_path=target,
        subjects=subjects.split(","),
        sessions="all",
        modalities=["func"],
        tasks=["rest"],
        runs="all",
        suffixes=["bold"],
        extensions=[".nii.gz"],
        root_files=[],
        tmp_clean=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
