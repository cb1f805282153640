"""The organs' values: what people write, ``{"liver": 1, "kidney": [2, 3]}``, and volumes hold."""

from collections.abc import Mapping, Sequence

import numpy as np

from samparser_monai.errors import InputError

Labels = Mapping[str, int | Sequence[int]]


def organ_values(labels: Labels) -> dict[str, list[int]]:
    """Return the values that each organ has in label volumes.

    Raises:
        InputError: no mapping; a value that is not from 1 to 255, or belongs to two organs.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(
            f"labels={labels!r} must give each organ its value, or values, in the label volumes: "
            "{'liver': 1, 'kidney': [2, 3]}"
        )
    owners: dict[int, str] = {}
    for organ, given in labels.items():
        values = given if isinstance(given, list | tuple) else [given]
        for value in values or [None]:
            if not isinstance(value, int) or not 1 <= value <= 255:
                raise InputError(
                    f"labels gives {organ!r} the value {value!r}: it must be a whole number from "
                    "1 to 255; 0 is the background, which needs no name"
                )
            if value in owners:
                raise InputError(
                    f"labels gives the value {value} to {owners[value]!r} and to {organ!r}: "
                    "a voxel belongs to one organ; correct one of them"
                )
            owners[value] = organ
    return {organ: [v for v, owner in owners.items() if owner == organ] for organ in labels}


def whole_labels(values: np.ndarray, where: str) -> np.ndarray:
    """Return the values of a label volume as uint8, of the same shape.

    Within 1e-3 of a whole number is that number: files saved with a scale factor hold 2.99998.

    Args:
        values: of any shape and type.
        where: the file, for the error.

    Raises:
        InputError: fractions, NaN, negative values, or values over 255.
    """
    values = np.asarray(values)
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):  # inf - inf
        fractions = ~(np.abs(values - whole) <= 1e-3)
    for wrong, what, remedy in (
        (fractions, "fractions", "label volumes have whole numbers: undo its resampling"),
        (whole < 0, "negative values", "give each organ a value from 1 to 255"),
        (whole > 255, "values over 255", "give each organ a value from 1 to 255"),
    ):
        if wrong.any():
            shown = ", ".join(f"{value:g}" for value in np.unique(values[wrong])[:5])
            raise InputError(f"{where} holds {what} ({shown}): {remedy}")
    return whole.astype(np.uint8)
