"""Labelled volumes to train on, in the layouts that people have, split by patient."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import ends_with, files_below, read_json
from samparser_monai.volumes.dataset_json import check_labels
from samparser_monai.volumes.listing import (
    FOLDERS,
    by_case,
    ending_of,
    folder_in,
    read_datalist,
    truth_beside,
    volumes_in,
)
from samparser_monai.volumes.organs import Labels
from samparser_monai.volumes.reading import ENDINGS

Item = dict[str, Any]
_LAYOUTS = (
    "images/ + labels/, imagesTr/ + labelsTr/ (with or without dataset.json), "
    "AbdomenCT-1K's *_0000.nii.gz beside their labels, a folder to a case with its label.nii.gz or "
    "segmentations/, or a MONAI datalist *.json"
)


def abdomen_ct_items(
    root: str | Path,
    share: float = 0.8,
    seed: int = 2023,
    labels: Labels | None = None,
    patient_pattern: str | None = None,
    names: bool = False,
) -> dict[str, list[Item]]:
    """List the labelled volumes under ``root`` and split them by patient.

    Args:
        root: a folder in one of the known layouts, or a MONAI datalist file. Images are
            NIfTI, NRRD or MetaImage files, or folders that hold one DICOM series each.
        share: of the patients that train (the paper: 80 %). A datalist's own ``validation``
            section, where its entries have labels, goes before it.
        seed: of the split.
        labels: organ -> its value, or values; compared with what a dataset.json says.
        patient_pattern: a regular expression whose first group, or match, in a case's name is
            its patient; None: each case is a patient of its own, or its datalist names them, and
            cases with one label are one patient.
        names: the organs are to be asked for by name too. The items get ``every_slice``, and
            ``labelled``, the organs that were looked for in a case, where the datalist says so,
            for a case or, at its top, for all.

    Returns:
        For ``train`` and ``validation`` the items {image, label, case, patient}.

    Raises:
        InputError: no volumes, two of one case, an image without its label or the reverse, too
            few patients, labels that contradict the data set, a file, label or patient on both
            sides.
    """
    root = Path(str(root))
    if not root.exists():
        raise InputError(f"dataset_dir={str(root)!r} does not exist: expected {_LAYOUTS}")
    if root.is_file() and root.suffix.lower() != ".json":
        raise InputError(f"dataset_dir={str(root)!r} is one file: expected {_LAYOUTS}")
    datalist = root if root.is_file() else root / "dataset.json"
    content = read_json(datalist) if datalist.is_file() else {}
    if labels is not None:
        check_labels(content, labels, datalist)
    # nnU-Net v2's dataset.json describes the folders and lists nothing
    if root.is_file() or (isinstance(content, dict) and "training" in content):
        sections = _from_datalist(datalist)
    else:
        sections = {"train": _from_folders(root), "validation": []}
    _name_patients(sections["train"] + sections["validation"], patient_pattern)
    if not sections["validation"]:
        sections = split_by_patient(sections["train"], share, seed)
    _check_apart(sections)
    if names:
        everywhere = content.get("labelled") if isinstance(content, dict) else None
        for section, found in sections.items():
            sections[section] = [_by_name(item, everywhere, labels) for item in found]
    return sections


def _by_name(item: Item, everywhere: Any, labels: Labels | None) -> Item:
    labelled = item.get("labelled", everywhere)
    if labelled is None:
        return {**item, "every_slice": True}
    if not isinstance(labelled, list) or not all(isinstance(one, str) for one in labelled):
        raise InputError(
            f"case {item['case']!r}: labelled={labelled!r} must be a list of the organs that were "
            'looked for: ["liver", "spleen"]'
        )
    if strange := [organ for organ in labelled if organ not in (labels or {})]:
        raise unknown(f"organ in 'labelled' of case {item['case']!r}:", strange[0], labels or {})
    return {**item, "labelled": labelled, "every_slice": True}


def _name_patients(items: list[Item], pattern: str | None) -> None:
    """Give each item without a patient the one of its case, or of the other cases of its label."""
    known = {_real(item["label"]): item["patient"] for item in items if "patient" in item}
    for item in (item for item in items if "patient" not in item):
        own = _patient(item["case"], pattern)
        # several phases drawn as one; a pattern tells by itself who is who
        item["patient"] = own if pattern else known.setdefault(_real(item["label"]), own)


def _real(path: str) -> str:
    return str(Path(path).resolve())


def _patient(case: str, pattern: str | None) -> str:
    if pattern is None:
        return case
    try:
        found = re.search(pattern, case)
    except re.error as error:
        raise InputError(
            f"patient_pattern={pattern!r} is no regular expression: {error}"
        ) from error
    if found is None:
        raise InputError(f"patient_pattern={pattern!r} does not occur in case {case!r}: correct it")
    return found[1] if found.re.groups else found[0]


def _check_apart(sections: dict[str, list[Item]]) -> None:
    """Raise an InputError if a file or a patient is on both sides."""
    out = "take it out of one"
    for what, of, remedy in (
        ("file", lambda item: _real(item["image"]), out),
        (
            "label",
            lambda item: _real(item["label"]),
            f"{out}, or let patient_pattern name both alike",
        ),
        ("patient", lambda item: item["patient"], out),
    ):
        trained = {of(item): item for item in sections["train"]}
        for item in sections["validation"]:
            if (other := trained.get(of(item))) is not None:
                raise InputError(
                    f"the {what} {of(item)} is in training (case {other['case']!r}) and in "
                    f"validation (case {item['case']!r}): {remedy}"
                )


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


def _from_folders(root: Path) -> list[Item]:
    for first, second in FOLDERS:
        if images := folder_in(root, first):
            if (labels := folder_in(root, second)) is None:
                raise InputError(f"{images} has no {second}/ beside it: put the labels there")
            return _paired(volumes_in(images), volumes_in(labels), root)
    files = [path for path in files_below(root) if ends_with(path, ENDINGS)]
    numbered = [path for path in files if path.name.endswith("_0000" + ending_of(path))]
    if numbered:
        others = [path for path in files if path not in numbered]
        return _paired(by_case(numbered), by_case(others, apart=False), root)
    cases = {case: path for case, path in volumes_in(root).items() if path.parent != root}
    beside = {case: truth_beside(path) for case, path in cases.items()}
    return _paired(cases, {case: path for case, path in beside.items() if path}, root)


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
    for path in (*images.values(), *labels.values()):
        if not path.exists():
            raise InputError(f"{path} is a link to {path.readlink()}, which is not there: mend it")
    return [{"image": str(images[c]), "label": str(labels[c]), "case": c} for c in sorted(images)]


def _from_datalist(path: Path) -> dict[str, list[Item]]:
    content = read_datalist(path)
    found = {"train": content["training"], "validation": content["validation"]}
    if not any("label" in item for item in found["validation"]):
        found["validation"] = []
    for item in found["train"] + found["validation"]:
        for key in ("image", "label"):
            if key not in item:
                raise InputError(f"{path}: the entry {item} has no {key!r}: add its path")
            if not Path(item[key]).exists():
                raise InputError(f"{path}: {key} {item[key]} does not exist: correct its path")
    if not found["train"]:
        raise InputError(f"{path} lists no training volumes: fill its list 'training'")
    return found
