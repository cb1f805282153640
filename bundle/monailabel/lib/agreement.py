"""How two labels of one image agree, whoever drew them: the DSC of each of their segments."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.labels import names_of, organ_of, read_label
from samparser_monai.metrics.scores import dice
from samparser_monai.volumes.organs import organ_values

Segments = Mapping[str, np.ndarray]
"""Name, the organ's where it means one -> its voxels along LPS, bool."""


def agreed(one: Segments, other: Segments) -> dict[str, float]:
    """Return the DSC in percent of each segment that one of two labels has."""
    found, nothing = {}, np.zeros(1, bool)
    for name in dict.fromkeys([*one, *other]):
        here, there = one.get(name, nothing), other.get(name, nothing)
        found[name] = round(float(dice((here & there).sum(), here.sum() + there.sum())), 2)
    return found


def segments_in(path: str, info: Mapping[str, Any], labels: Mapping[str, Any]) -> Segments:
    """Return the segments of a label that was saved with ``info``."""
    values, known = read_label(path, path).numpy()[0], organ_values(labels)
    found: dict[str, np.ndarray] = {}
    for value, name in names_of(values, labels, info.get("label_info")).items():
        organ = organ_of(name, known) or name
        found[organ] = found.get(organ, False) | (values == value)
    return found
