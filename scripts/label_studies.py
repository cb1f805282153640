"""Lay out the demonstration CT as studies of a MONAI Label server: label_studies.py DIR."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from samparser_monai.volumes.demonstration import demonstration_dir
from samparser_monai.volumes.layouts import volumes_in
from samparser_monai.volumes.reading import read_volume

if __name__ == "__main__":
    studies = Path(sys.argv[1])
    studies.mkdir(parents=True, exist_ok=True)
    for case, path in volumes_in(demonstration_dir() / "images").items():
        if (study := studies / f"{case}.nii.gz").exists():  # a study is never replaced
            continue
        volume = read_volume(path)
        values = volume.numpy()[0].astype(np.int16)
        nib.save(nib.Nifti1Image(values, np.asarray(volume.affine)), study)
    print(studies)
