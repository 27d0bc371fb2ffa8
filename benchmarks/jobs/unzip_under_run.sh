#!/usr/bin/env bash
# Unpack zips of outputs of fMRIPrep the way bootstrap scripts of labs do it: all of the zip, away
# with what nobody wants, and the rest to where it is wanted, under `datalad run`, zip by zip.
#
# Usage: unzip_under_run.sh        (in the dataset)
set -eu

for zip in *.zip; do
    sub=${zip%%_*}
    func=fmriprep/$sub/func/${sub}_task-rest_run-1
    datalad run -m "Unzip $zip" -i "$zip" -o "$sub" -o "$sub.html" "
        unzip -q -n $zip 'fmriprep/*' -d . &&
        rm -r fmriprep/.bidsignore fmriprep/*.json fmriprep/*.tsv fmriprep/logs fmriprep/$sub/log \
            ${func}_AROMA* ${func}_boldref* ${func}_from-* ${func}_hemi-* \
            ${func}_desc-MELODIC* ${func}_desc-brain* ${func}_desc-preproc* \
            ${func}_space-MNI152NLin6Asym_* ${func}_space-T1w_* ${func}_space-fsLR_* &&
        cp -r fmriprep/* . &&
        rm -r fmriprep"
done
