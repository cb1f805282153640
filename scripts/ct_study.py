"""Lay out the data of results/ct_chosen: ct_study.py CURVAS CHAOS_IMAGE CHAOS_LABEL OUT.

CURVAS holds ``images/PATIENT_SLICE.png``, windowed, and ``masks_annotator1/`` of the same names.
OUT/datalist.json trains on the demonstration CT and the patients that `--split_seed 12` takes for
validation, and is judged by all the others.
"""

import json
import sys
from itertools import groupby
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from samparser_monai.volumes.demonstration import fetch_demonstration

COLOURS = {1: (255, 0, 255), 2: (255, 255, 0), 4: (0, 255, 255)}  # liver, kidney, pancreas
LOW, HIGH = -160, 240  # HU of black and white
VALIDATION = ("curvas10004", "curvas10005")
EVERY = 4  # slice of CHAOS


def save(case: str, image: np.ndarray, label: np.ndarray, affine: np.ndarray) -> dict[str, str]:
    """Write a case and return its entry of the datalist."""
    entry = {"case": case}
    for name, volume in (("image", image), ("label", label)):
        entry[name] = f"{case}_{name}.nii.gz"
        nib.save(nib.Nifti1Image(volume, affine), out / entry[name])
    return entry


if __name__ == "__main__":
    curvas, chaos_image, chaos_label, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    named = [(*path.stem.split("_"), path) for path in (curvas / "images").glob("*.png")]
    slices = sorted((patient, int(number), path) for patient, number, path in named)
    cases = []
    for patient, group in groupby(slices, key=lambda found: found[0]):
        paths = [path for _, _, path in group]
        grey = [np.asarray(Image.open(path).convert("L"), np.float32) for path in paths]
        masks = [
            Image.open(curvas / "masks_annotator1" / path.name).convert("RGB") for path in paths
        ]
        coloured = np.stack([np.asarray(mask, int) for mask in masks], 2).transpose(1, 0, 2, 3)
        label = np.zeros(coloured.shape[:3], np.uint8)
        for value, colour in COLOURS.items():
            label[abs(coloured - colour).sum(-1) < 60] = value
        image = np.stack(grey, -1).transpose(1, 0, 2) / 255 * (HIGH - LOW) + LOW
        cases.append(save(f"curvas{patient}", image, label, np.diag([-0.8, -0.8, 5, 1])))
    image, label = nib.load(chaos_image), nib.load(chaos_label)
    arrays = [np.asarray(volume.dataobj)[..., ::EVERY] for volume in (image, label)]
    cases.append(save("chaos3", *arrays, image.affine @ np.diag([1, 1, EVERY, 1])))
    demonstration = fetch_demonstration()
    entries = json.loads((demonstration / "dataset.json").read_text())
    trains = [
        {
            key: value if key == "case" else str(demonstration / value)
            for key, value in entry.items()
        }
        for entry in entries["training"] + entries["validation"]
    ]
    trains += [case for case in cases if case["case"] in VALIDATION]
    judges = [case for case in cases if case["case"] not in VALIDATION]
    datalist = {"training": trains, "validation": judges}
    (out / "datalist.json").write_text(json.dumps(datalist, indent=4))
    print(out / "datalist.json")
