"""What a data set itself says about the values in its labels, against what the user says."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.volumes.organs import Labels, organ_values

SYNONYMS = {
    "kidneys": "kidney",
    "renal": "kidney",
    "hepatic": "liver",
    "gall bladder": "gallbladder",
    "oesophagus": "esophagus",
    "adrenal": "adrenal gland",
    "adrenal glands": "adrenal gland",
    "suprarenal gland": "adrenal gland",
    "postcava": "inferior vena cava",
    "ivc": "inferior vena cava",
    "lungs": "lung",
    "prostate uterus": "prostate",
    "urinary bladder": "bladder",
}
SIDES = {"left": "left", "right": "right", "l": "left", "r": "right", "lt": "left", "rt": "right"}
LESIONS = re.compile(r"tumou?r|cancer|lesion|cyst|metasta|nodule|carcinoma|mass\b")
log = logging.getLogger(__name__)


def same_organ(wanted: str, name: str) -> bool:
    """Tell whether a name means an organ; one without a side means both."""
    (organ, side), (other, other_side) = _parsed(wanted), _parsed(name)
    return organ == other and side in (None, other_side)


def _parsed(name: str) -> tuple[str, str | None]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.sub(r"[^\w]+|_", " ", spaced).lower().split()
    sides = [SIDES[word] for word in words if word in SIDES]
    organ = " ".join(word for word in words if word not in SIDES)
    return SYNONYMS.get(organ, organ), sides[0] if sides else None


def named_values(content: Any, where: Path) -> dict[int, list[str]]:
    """Return the names of each value in ``labels`` of a dataset.json; {} where it has none.

    They are ``{"1": "liver"}`` in MSD and nnU-Net v1, ``{"liver": 1}`` or, for regions,
    ``{"liver": [1, 2]}`` in nnU-Net v2.

    Raises:
        InputError: they are neither.
    """
    labels = content.get("labels") if isinstance(content, Mapping) else None
    names: dict[int, list[str]] = {}
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        named = isinstance(value, str) and not value.isdigit()
        values, name = (key, value) if named else (value, key)
        try:
            for one in values if isinstance(values, list) else [values]:
                if number := int(one):
                    names.setdefault(number, []).append(name)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{where}: its labels have {key!r}: {value!r}, where a value stands beside a name: "
                "correct it"
            ) from error
    return names


def check_names(content: Any, labels: Labels, where: Path) -> None:
    """Raise an InputError where ``labels`` contradict what a dataset.json says; log the mapping.

    A lesion may belong to the organ that it stands with: ``{"liver": [1, 2]}``. So may any values
    that are joined under a name of the user's own.
    """
    names = named_values(content, where)
    if not names:
        return
    found: dict[str, list[int]] = {}
    for organ, values in organ_values(labels).items():
        found[organ] = [v for v, own in names.items() if any(same_organ(organ, n) for n in own)]
        for value in values:
            known = names.get(value, [])
            lesion = len(values) > 1 and any(LESIONS.search(name.lower()) for name in known)
            joined = len(values) > 1 and not found[organ]
            if known and value not in found[organ] and not lesion and not joined:
                _refuse(f"gives {organ!r} the value {value}, which is {known[0]!r}", names, labels)
        if missing := set(found[organ]) - set(values):
            value = min(missing)
            _refuse(
                f"leaves out the value {value}, {names[value][0]!r}, of {organ!r}", names, labels
            )
    told = [
        f"{value} ({', '.join(names.get(value, ['not in it']))}) is {organ}"
        for organ, values in organ_values(labels).items()
        for value in values
    ]
    log.info("labels, as %s names them: %s", where, "; ".join(told))


def _refuse(what: str, names: Mapping[int, list[str]], labels: Labels) -> None:
    right: dict[str, Any] = {}
    for organ in labels:
        values = sorted(v for v, own in names.items() if any(same_organ(organ, n) for n in own))
        if values:
            right[organ] = values if len(values) > 1 else values[0]
    shown = right or {own[0]: value for value, own in sorted(names.items())}
    raise InputError(
        f"labels={dict(labels)} {what} by the data set's own dataset.json: give "
        f'--labels "{shown}", or correct the file'
    )
