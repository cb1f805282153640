"""Connected components of label pictures."""

import numpy as np
from scipy import ndimage


def instances_of(label: np.ndarray, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    """Split a label picture (HxW) into its connected components (8 neighbours) per value.

    Returns:
        The values (N,) and the masks (NxHxW, bool) of the components of at least ``min_area``
        pixels; a left and a right kidney are two.
    """
    values, masks = [], []
    for value in np.unique(label[label > 0]):
        parts, count = ndimage.label(label == value, structure=np.ones((3, 3)))
        areas = np.bincount(parts.ravel(), minlength=count + 1)
        for part in range(1, count + 1):
            if areas[part] >= min_area:
                values.append(value)
                masks.append(parts == part)
    return np.array(values, dtype=np.int64), np.array(masks, dtype=bool).reshape(-1, *label.shape)
