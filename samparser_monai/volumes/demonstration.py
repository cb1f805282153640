"""The demonstration CT: two abdominal scans that any machine with a package index can get.

They are the example files in TotalSegmentator's source package (Apache-2.0). Their labels are the
output of that model: right for a demonstration, never for a claim.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from samparser_monai.fetch import Source, cache_dir, extract, fetch

SOURCE = Source(
    "totalsegmentator-2.18.0.tar.gz",
    38_049_988,
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    package="totalsegmentator==2.18.0",
)
ORGANS = {5: 1, 2: 2, 3: 2, 1: 3, 7: 4}
"""TotalSegmentator's numbers -> liver 1, kidney 2 (right and left), spleen 3, pancreas 4."""

CASES = {  # case -> the image and the labels in the package
    "coarse": ("example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"),  # 122x101x112, 3 mm
    "fine": ("example_ct_dicom", "example_seg_dicom.nii.gz"),  # 512x512x20, 1x1x2 mm, DICOM
}


def demonstration_dir() -> Path:
    """Return the folder of the demonstration CT in the cache."""
    return cache_dir() / "demonstration_ct"


def fetch_demonstration() -> Path:
    """Fetch the demonstration CT, once, lay it out as a data set and return its folder.

    Raises:
        InputError: the package cannot be had.
    """
    target = demonstration_dir()
    if not target.exists():
        archive = fetch(SOURCE)
        folder = Path(tempfile.mkdtemp(dir=archive.parent))
        try:
            extract(archive, "tests/reference_files/", folder / "all")
            _lay_out(folder / "all", folder / "data")
            os.replace(folder / "data", target)
        finally:
            shutil.rmtree(folder)
    return target


def _lay_out(found: Path, target: Path) -> None:
    for name in ("images", "labels"):
        (target / name).mkdir(parents=True)
    sections: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for (case, (image, label)), section in zip(CASES.items(), sections, strict=True):
        ending = ".nii.gz" if image.endswith(".nii.gz") else ""
        shutil.move(found / image, target / "images" / f"{case}{ending}")
        theirs = nib.load(found / label)
        values = np.asanyarray(theirs.dataobj)
        ours = np.zeros(values.shape, np.uint8)
        for number, organ in ORGANS.items():
            ours[values == number] = organ
        nib.save(nib.Nifti1Image(ours, theirs.affine), target / "labels" / f"{case}.nii.gz")
        sections[section].append(
            {"image": f"images/{case}{ending}", "label": f"labels/{case}.nii.gz", "case": case}
        )
    (target / "dataset.json").write_text(json.dumps(sections, indent=4))
