"""CT volumes in the layouts that people have, split by patient."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import load_decathlon_datalist

from samparser_monai.errors import InputError

Item = dict[str, Any]
FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
ENDINGS = (".nii", ".nii.gz")
_LAYOUTS = (
    "images/ + labels/, imagesTr/ + labelsTr/ (with or without dataset.json), "
    "AbdomenCT-1K's *_0000.nii.gz beside their labels, or a MONAI datalist *.json"
)


def abdomen_ct_items(
    root: str | Path, share: float = 0.8, seed: int = 2023
) -> dict[str, list[Item]]:
    """List the labelled volumes under ``root`` and split them by patient.

    Args:
        root: a folder in one of the known layouts, or a MONAI datalist file. Images are
            ``.nii``, ``.nii.gz``, or folders that hold one DICOM series each.
        share: of the patients that train (the paper: 80 %). A datalist's own ``validation``
            section, where its entries have labels, goes before it.
        seed: of the split.

    Returns:
        For ``train`` and ``validation`` the items {image, label, case, patient}.

    Raises:
        InputError: no volumes, two of one case, an image without its label or the reverse, too
            few patients.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"dataset_dir={str(root)!r} does not exist: expected {_LAYOUTS}")
    datalist = root if root.is_file() else root / "dataset.json"
    # nnU-Net's dataset.json describes the folders and lists nothing
    if root.is_file() or (datalist.is_file() and '"training"' in datalist.read_text()):
        sections = _from_datalist(datalist)
        if sections["validation"]:
            return sections
        items = sections["train"]
    else:
        items = _from_folders(root)
    return split_by_patient(items, share, seed)


def split_by_patient(items: list[Item], share: float, seed: int) -> dict[str, list[Item]]:
    """Split items so that no patient is on both sides; each side gets at least one.

    Raises:
        InputError: the share is not between 0 and 1, or there are fewer than two patients.
    """
    if not 0 < share < 1:
        raise InputError(f"train_share must be between 0 and 1, not {share}")
    patients = sorted({item["patient"] for item in items})
    if len(patients) < 2:
        raise InputError(
            f"only {len(patients)} patient in dataset_dir: a split by patient needs two; name the "
            "volumes of training and validation in a datalist *.json to do without"
        )
    order = np.random.default_rng(seed).permutation(patients)
    train = set(order[: min(max(round(share * len(order)), 1), len(order) - 1)])
    return {
        "train": [item for item in items if item["patient"] in train],
        "validation": [item for item in items if item["patient"] not in train],
    }


def case_of(path: Path) -> str:
    """Return a volume's name without endings: ``Case_00001_0000.nii.gz`` is Case_00001."""
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return name.removesuffix("_0000")


def volumes_in(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder by case: NIfTI files, and folders (a DICOM series each)."""
    return _by_case(p for p in folder.iterdir() if p.is_dir() or p.name.endswith(ENDINGS))


def _by_case(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.name.startswith("."):
            continue
        if (case := case_of(path)) in found:
            raise InputError(
                f"{found[case]} and {path} are both case {case!r}: keep one, or name the volumes "
                "in a datalist *.json"
            )
        found[case] = path
    return found


def _from_folders(root: Path) -> list[Item]:
    for first, second in FOLDERS:
        if (root / first).is_dir():
            if not (root / second).is_dir():
                raise InputError(f"{root / first} has no {second}/ beside it: put the labels there")
            return _paired(volumes_in(root / first), volumes_in(root / second), root)
    files = list(root.rglob("*.nii.gz"))
    images = _by_case(p for p in files if p.name.endswith("_0000.nii.gz"))
    labels = [p for p in files if images and not p.name.endswith("_0000.nii.gz")]
    return _paired(images, _by_case(labels), root)


def _paired(images: dict[str, Path], labels: dict[str, Path], root: Path) -> list[Item]:
    if not images:
        raise InputError(f"dataset_dir={str(root)!r} holds no volumes: expected {_LAYOUTS}")
    for what, other, having, lacking in (
        ("image", "label", images, labels),
        ("label", "image", labels, images),
    ):
        if lone := sorted(having.keys() - lacking.keys()):
            raise InputError(
                f"{having[lone[0]]}: {what} without {other} ({len(lone)} such): add the {other} "
                f"of the same name, or move the {what} away"
            )
    return [
        {"image": str(images[c]), "label": str(labels[c]), "case": c, "patient": c}
        for c in sorted(images)
    ]


def _from_datalist(path: Path) -> dict[str, list[Item]]:
    try:
        sections = json.loads(path.read_text())
        found = {
            name: load_decathlon_datalist(str(path), True, key) if key in sections else []
            for name, key in (("train", "training"), ("validation", "validation"))
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is not a MONAI datalist ({error}): it needs a list 'training' of objects "
            "with 'image' and 'label'"
        ) from error
    if not any("label" in item for item in found["validation"]):
        found["validation"] = []
    items = {name: [_checked(item, path) for item in found[name]] for name in found}
    if not items["train"]:
        raise InputError(f"{path} lists no training volumes: fill its list 'training'")
    return items


def _checked(item: Item, datalist: Path) -> Item:
    for key in ("image", "label"):
        if key not in item:
            raise InputError(f"{datalist}: the entry {item} has no {key!r}: add its path")
        if not Path(item[key]).exists():
            raise InputError(f"{datalist}: {key} {item[key]} does not exist: correct its path")
    case = item.get("case", case_of(Path(item["image"])))
    return {"patient": case, **item, "case": case}
