"""Lay out the real hospitals of federated_study.py: federated_hospitals.py CT IMAGE LABEL OUT.

CT is what ct_study.py has laid out of CURVAS, IMAGE and LABEL are CHAOS set 3. OUT/hospitals_N.json
gives three patients each to two hospitals, by the seed N; the third has the demonstration CT, and
nobody trains on the last three patients and on CHAOS.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from samparser_monai.volumes.demonstration import CASES, fetch_demonstration
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.reading import read_oriented

EVERY = 6  # slice of CHAOS and of the demonstration CT: 12 and 12 that show organs
PATIENTS = 3  # of a hospital


def thinned(case: str, image: Path, label: Path, out: Path) -> dict[str, str]:
    """Write every sixth slice of a case and return its entry of a datalist."""
    volume = read_oriented(image)
    entry = {"case": case}
    affine = volume.affine.numpy() @ np.diag([1, 1, EVERY, 1])
    for name, values in (("image", volume), ("label", read_labels_like(volume, label))):
        entry[name] = str(out / f"{case}_{name}.nii.gz")
        nib.save(nib.Nifti1Image(values.numpy()[0, ..., ::EVERY], affine), entry[name])
    return entry


def main() -> None:
    """Write the volumes, and a file to a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs=3, metavar=("CT", "IMAGE", "LABEL"))
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    ct, image, label = (path.resolve() for path in args.files)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    folder = fetch_demonstration()
    demonstration = [
        thinned(case, next((folder / "images").glob(f"{case}*")), labels, out)
        for case in CASES
        for labels in (folder / "labels").glob(f"{case}*")
    ]
    chaos = thinned("chaos3", image, label, out)
    patients = [
        {"case": path.name.removesuffix("_image.nii.gz"), "image": str(path)}
        | {"label": str(path).replace("_image", "_label")}
        for path in sorted(ct.glob("curvas*_image.nii.gz"))
    ]
    for seed in args.seeds:
        drawn = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
        sites = {
            "site-1": drawn[:PATIENTS],
            "site-2": drawn[PATIENTS : 2 * PATIENTS],
            "site-3": demonstration,
        }
        unseen = {"other patients": drawn[2 * PATIENTS :], "another hospital": [chaos]}
        content = json.dumps({"sites": sites, "unseen": unseen}, indent=4)
        (out / f"hospitals_{seed}.json").write_text(content)


if __name__ == "__main__":
    main()
