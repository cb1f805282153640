"""What a data set's own dataset.json says about values in labels, against what the user says."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import read_json
from samparser_monai.volumes.organ_names import LESIONS, same_organ
from samparser_monai.volumes.organs import Labels, organ_values

log = logging.getLogger(__name__)


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


def labels_in(root: str | Path, organs: Labels) -> Labels:
    """Return ``organs`` with the values that a data set gives to organs of these names.

    Without a dataset.json, or where that names no values, they are as they were. Organs that it
    does not name are left out.

    Raises:
        InputError: it names none of them.
    """
    path = Path(str(root))
    path = path if path.suffix.lower() == ".json" else path / "dataset.json"
    names = named_values(read_json(path), path) if path.is_file() else {}
    if not names:
        return organs
    found = _by_name(organs, names)
    if not found:
        raise InputError(
            f"{path} names {', '.join(own[0] for _, own in sorted(names.items()))}, and none of "
            f'{", ".join(organs)}: give --labels "{_all_of(names)}", or those of them you want'
        )
    return found


def check_labels(content: Any, labels: Labels, where: Path) -> None:
    """Raise an InputError where ``labels`` contradict what a dataset.json says; log the mapping.

    A lesion may belong to the organ that it stands with: ``{"liver": [1, 2]}``. So may any values
    that are joined under a name of the user's own.
    """
    names = named_values(content, where)
    if not names:
        return
    found: dict[str, list[int]] = {}
    for organ, values in organ_values(labels).items():
        found[organ] = _values_of(organ, names)
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
    shown = _by_name(labels, names) or _all_of(names)
    raise InputError(
        f"labels={dict(labels)} {what} by the data set's own dataset.json: give "
        f'--labels "{shown}", or correct the file'
    )


def _by_name(organs: Labels, names: Mapping[int, list[str]]) -> dict[str, Any]:
    found = {organ: sorted(_values_of(organ, names)) for organ in organs}
    return {organ: v if len(v) > 1 else v[0] for organ, v in found.items() if v}


def _all_of(names: Mapping[int, list[str]]) -> dict[str, int]:
    return {own[0]: value for value, own in sorted(names.items())}


def _values_of(organ: str, names: Mapping[int, list[str]]) -> list[int]:
    return [value for value, own in names.items() if any(same_organ(organ, n) for n in own)]
