"""Connected components of label pictures."""

import numpy as np
from scipy import ndimage


def numbered_parts(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the components (8 neighbours) of each value of a label picture (HxW) from 1.

    Returns:
        The values (N,) in the order of the numbers, and the numbers (HxW, int32; 0: none).
    """
    values: list[int] = []
    numbers = np.zeros(label.shape, np.int32)
    for value in np.unique(label[label > 0]):
        parts, count = ndimage.label(label == value, structure=np.ones((3, 3)))
        numbers += np.where(parts > 0, parts + len(values), 0)
        values += [int(value)] * count
    return np.array(values, dtype=np.int64), numbers


def instances_of(
    label: np.ndarray, min_area: int, numbers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split a label picture (HxW) into its connected components (8 neighbours) per value.

    Args:
        label: the picture.
        min_area: of a component, in pixels.
        numbers: of the components, HxW, where numbered_parts has made them before.

    Returns:
        The values (N,) and the masks (NxHxW, bool) of the components of at least ``min_area``
        pixels; a left and a right kidney are two.
    """
    if numbers is None:
        _, numbers = numbered_parts(label)
    areas = np.bincount(numbers.ravel())
    kept = [n for n in range(1, len(areas)) if areas[n] >= max(min_area, 1)]
    masks = [numbers == n for n in kept]
    values = np.array([label.flat[mask.argmax()] for mask in masks], dtype=np.int64)
    return values, np.array(masks, dtype=bool).reshape(-1, *label.shape)
