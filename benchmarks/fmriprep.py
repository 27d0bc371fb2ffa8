"""Made-up names of what fMRIPrep writes for a subject, with the sizes that such files have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ALL", "Output", "outputs"]


class Output(NamedTuple):
    """A file.

    Attributes
    ----------
    name
        Path in the directory of outputs.
    size
        Bytes, about.
    """

    name: str
    size: int


# As fMRIPrep 21 lays them out (OpenNeuro ds000001-fmriprep), in the directory of outputs; a
# name that has `{run}` is there once a run. Sizes are those of that dataset, rounded.
_DATASET = {
    ".bidsignore": 124,
    "dataset_description.json": 900,
    "desc-aparcaseg_dseg.tsv": 20_000,
    "desc-aseg_dseg.tsv": 1_000,
    "logs/CITATION.md": 9_000,
}
_SUBJECT = {
    "{sub}.html": 50_000,
    "{sub}/log/20220413-063550_e36fb4c8-b9cb-426a-89a6-ad4473f7d996/fmriprep.toml": 2_600,
}
_MNI9, _MNI6 = "MNI152NLin2009cAsym", "MNI152NLin6Asym"
_ANAT = {
    "desc-aparcaseg_dseg.nii.gz": 160_000,
    "desc-aseg_dseg.nii.gz": 130_000,
    "desc-brain_mask.json": 80,
    "desc-brain_mask.nii.gz": 29_000,
    "desc-preproc_T1w.json": 28,
    "desc-preproc_T1w.nii.gz": 8_800_000,
    "dseg.nii.gz": 160_000,
    f"from-{_MNI9}_to-T1w_mode-image_xfm.h5": 90_000_000,
    f"from-{_MNI6}_to-T1w_mode-image_xfm.h5": 75_000_000,
    f"from-T1w_to-{_MNI9}_mode-image_xfm.h5": 90_000_000,
    f"from-T1w_to-{_MNI6}_mode-image_xfm.h5": 75_000_000,
    "from-T1w_to-fsnative_mode-image_xfm.txt": 225,
    "from-fsnative_to-T1w_mode-image_xfm.txt": 225,
    **{
        f"hemi-{side}_{surface}.surf.gii": 3_400_000
        for side in "LR"
        for surface in ("inflated", "midthickness", "pial", "smoothwm")
    },
    "label-CSF_probseg.nii.gz": 400_000,
    "label-GM_probseg.nii.gz": 730_000,
    "label-WM_probseg.nii.gz": 400_000,
    f"space-{_MNI9}_res-2_desc-brain_mask.json": 118,
    f"space-{_MNI9}_res-2_desc-brain_mask.nii.gz": 11_000,
    f"space-{_MNI9}_res-2_desc-preproc_T1w.json": 27,
    f"space-{_MNI9}_res-2_desc-preproc_T1w.nii.gz": 1_100_000,
    f"space-{_MNI9}_res-2_dseg.nii.gz": 52_000,
    f"space-{_MNI9}_res-2_label-CSF_probseg.nii.gz": 620_000,
    f"space-{_MNI9}_res-2_label-GM_probseg.nii.gz": 850_000,
    f"space-{_MNI9}_res-2_label-WM_probseg.nii.gz": 670_000,
}
_FIGURES = {
    "desc-about_T1w.html": 757,
    "desc-conform_T1w.html": 282,
    "desc-reconall_T1w.svg": 830_000,
    "desc-summary_T1w.html": 410,
    "dseg.svg": 2_000_000,
    f"space-{_MNI9}_T1w.svg": 1_000_000,
    f"space-{_MNI6}_T1w.svg": 980_000,
    "{run}_desc-aroma_bold.svg": 3_200_000,
    "{run}_desc-bbregister_bold.svg": 1_700_000,
    "{run}_desc-carpetplot_bold.svg": 250_000,
    "{run}_desc-compcorvar_bold.svg": 100_000,
    "{run}_desc-confoundcorr_bold.svg": 170_000,
    "{run}_desc-rois_bold.svg": 440_000,
    "{run}_desc-summary_bold.html": 4_400,
    "{run}_desc-validation_bold.html": 0,
}
_FUNC = {
    "{run}_AROMAnoiseICs.csv": 54,
    "{run}_boldref.nii.gz": 240_000,
    "{run}_desc-MELODIC_mixing.tsv": 300_000,
    "{run}_desc-brain_mask.json": 96,
    "{run}_desc-brain_mask.nii.gz": 2_300,
    "{run}_desc-confounds_timeseries.json": 51_000,
    "{run}_desc-confounds_timeseries.tsv": 1_000_000,
    "{run}_desc-preproc_bold.json": 128,
    "{run}_desc-preproc_bold.nii.gz": 71_000_000,
    "{run}_from-T1w_to-scanner_mode-image_xfm.txt": 230,
    "{run}_from-scanner_to-T1w_mode-image_xfm.txt": 230,
    "{run}_hemi-L_space-fsaverage5_bold.func.gii": 13_000_000,
    "{run}_hemi-L_space-fsaverage5_bold.json": 102,
    "{run}_hemi-R_space-fsaverage5_bold.func.gii": 13_000_000,
    "{run}_hemi-R_space-fsaverage5_bold.json": 102,
    f"{{run}}_space-{_MNI6}_desc-smoothAROMAnonaggr_bold.json": 102,
    f"{{run}}_space-{_MNI6}_desc-smoothAROMAnonaggr_bold.nii.gz": 410_000_000,
    **{
        f"{{run}}_space-{space}_{rest}": size
        for space, images, masks, bold in (
            (f"{_MNI9}_res-2", 1_600_000, 11_000, 450_000_000),
            ("T1w", 170_000, 2_200, 46_000_000),
        )
        for rest, size in (
            ("boldref.nii.gz", images),
            ("desc-aparcaseg_dseg.nii.gz", 5 * masks),
            ("desc-aseg_dseg.nii.gz", 4 * masks),
            ("desc-brain_mask.json", 96),
            ("desc-brain_mask.nii.gz", masks),
            ("desc-preproc_bold.json", 128),
            ("desc-preproc_bold.nii.gz", bold),
        )
    },
    "{run}_space-fsLR_den-91k_bold.dtseries.json": 140,
    "{run}_space-fsLR_den-91k_bold.dtseries.nii": 55_000_000,
    "{run}_space-fsLR_den-91k_bold.json": 102,
}
_PARTS = {"anat": _ANAT, "figures": _FIGURES, "func": _FUNC}

#: The directories of a subject, but for its log.
ALL = tuple(_PARTS)


def outputs(
    subject: str, runs: int, *, parts: tuple[str, ...] = ALL, task: str = "rest"
) -> Iterator[Output]:
    """Give what there is for a subject, and for the dataset that it is alone in.

    Parameters
    ----------
    subject
        Label.
    runs
        How many, of one task.
    parts
        Which directories of the subject; its report and its log are there anyway.
    task
        Label.
    """
    sub = f"sub-{subject}"
    labels = [f"task-{task}_run-{run}" for run in range(1, runs + 1)]
    for name, size in (_DATASET | _SUBJECT).items():
        yield Output(name.format(sub=sub), size)
    for part in parts:
        for name, size in _PARTS[part].items():
            for label in labels if "{run}" in name else labels[:1]:
                yield Output(f"{sub}/{part}/{sub}_{name.format(run=label)}", size)
