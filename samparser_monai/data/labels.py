"""What people write for the organs: ``{"liver": 1, "kidney": [2, 3]}``."""

from collections.abc import Mapping, Sequence

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
