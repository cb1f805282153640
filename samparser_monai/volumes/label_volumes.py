"""Label volumes, read on the grid of what they label."""

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with, files_below
from samparser_monai.volumes.grids import along, check_same_grid
from samparser_monai.volumes.organ_names import same_organ
from samparser_monai.volumes.organs import Labels, organ_values, whole_labels
from samparser_monai.volumes.reading import ENDINGS, read_oriented, read_volume


def read_pair(
    image: str | Path, label: str | Path, labels: Labels | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label on the same grid, each XxYxZ along LPS.

    Args:
        image: see read_volume.
        label: the same, or a folder of one mask to an organ, named after it, which get the
            organs' values (the first of each).
        labels: organ -> its value, or values.

    Raises:
        InputError: as read_volume; shapes or affines that do not agree; an empty label, or one
            whose values are not whole, see whole_labels.
    """
    volume, values = read_oriented(image), None
    files = files_below(Path(label)) if Path(label).is_dir() else []
    masks = [path for path in files if ends_with(path, ENDINGS)]
    known = organ_values(labels) if masks and labels is not None else {}
    for organ, (value, *_) in known.items():
        for path in masks:
            if same_organ(organ, path.name.split(".")[0]):
                mask = _on_grid(volume, image, path)
                values = mask * 0 if values is None else values
                values[(values == 0) & (mask > 0)] = value
    if values is None:
        if masks:
            raise InputError(f"{label} has no mask of {list(known)}: name them after the organs")
        values = _on_grid(volume, image, label)
    if not values.any():
        raise InputError(f"{label} is all zero: label at least one organ, or leave the case out")
    return volume.numpy()[0], values


def _on_grid(volume: MetaTensor, image: str | Path, label: str | Path) -> np.ndarray:
    """Return a label's values, XxYxZ along LPS, where it lies on the grid of an image."""
    truth = read_oriented(label)
    check_same_grid(volume, truth, image, label)
    return whole_labels(truth.numpy()[0], str(label))


def read_labels_like(volume: MetaTensor, path: str | Path) -> MetaTensor:
    """Read a label volume that shows what ``volume`` shows: 1xXxYxZ, uint8, on its grid.

    The same voxels along other axes are brought to the volume's.

    Raises:
        InputError: as read_volume; another grid; values that are no labels, see whole_labels.
    """
    labels = along(read_volume(path), volume)
    check_same_grid(volume, labels, volume.meta["filename_or_obj"], path)
    return labels.new_tensor(whole_labels(labels.numpy(), str(path)), dtype=torch.uint8)
