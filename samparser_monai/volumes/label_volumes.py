"""Label volumes, read on the grid of what they label."""

import logging
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with, files_below
from samparser_monai.volumes.grids import along, check_same_grid
from samparser_monai.volumes.label_table import own_values, revalued
from samparser_monai.volumes.listing import TRUTHS, case_of
from samparser_monai.volumes.organ_names import same_organ
from samparser_monai.volumes.organs import Labels, organ_values, whole_labels
from samparser_monai.volumes.reading import ENDINGS, read_oriented, read_volume

log = logging.getLogger(__name__)


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
            whose values are not whole, see whole_labels; masks, see masks_in.
    """
    volume = read_oriented(image)
    values = read_labels_like(volume, label, labels).numpy()[0]
    if not values.any():
        raise InputError(f"{label} is all zero: label at least one organ, or leave the case out")
    return volume.numpy()[0], values


def masks_in(folder: str | Path, organs: Iterable[str]) -> dict[str, list[Path]]:
    """Return the masks below a folder that are named after organs, to each organ.

    ``kidney_left.nii.gz`` is of a kidney where the organs have no sides; ``liver.old.nii.gz`` is of
    no liver.

    Raises:
        InputError: two masks of one organ, and not of its two sides in one folder.
    """
    files = {path: _name_of(path) for path in _volumes_below(Path(folder))}
    named = {o: [p for p, name in files.items() if same_organ(o, name)] for o in organs}
    for organ, masks in named.items():
        for one, other in combinations(masks, 2):
            a, b = files[one], files[other]
            if one.parent != other.parent or (same_organ(a, b) and same_organ(b, a)):
                raise InputError(
                    f"{one} and {other} are both masks of {organ!r}: keep one there, or both sides "
                    "of the organ in one folder"
                )
    return {organ: masks for organ, masks in named.items() if masks}


def _name_of(mask: Path) -> str:
    """Return what a mask is called, without what says that it is one: liver of liver.seg.nrrd."""
    name, _, last = case_of(mask).rpartition(".")
    return name if last.lower() in TRUTHS else case_of(mask)


def _volumes_below(folder: Path) -> list[Path]:
    return [p for p in files_below(folder) if ends_with(p, ENDINGS)] if folder.is_dir() else []


def read_labels_like(
    volume: MetaTensor,
    path: str | Path,
    labels: Labels | None = None,
    told: list[str] | None = None,
) -> MetaTensor:
    """Read a label volume that shows what ``volume`` shows: 1xXxYxZ, uint8, on its grid.

    The same voxels along other axes are brought to the volume's.

    Args:
        volume: as it was read.
        path: of the label volume, or of a folder of one mask to an organ, named after it, which
            get the organs' values (the first of each).
        labels: organ -> its value, or values.
        told: where the file's own names of its values (label_table) contradict ``labels``, the
            names count, and a line about it is added here. Without it the values count, with a
            warning in the log.

    Raises:
        InputError: as read_volume; another grid; values that are no labels, see whole_labels; a
            folder of masks of none of the organs.
    """
    if labels is not None and _volumes_below(Path(path)):
        return _joined(volume, path, labels)
    found = along(read_volume(path), volume)
    check_same_grid(volume, found, volume.meta["filename_or_obj"], path)
    values = whole_labels(found.numpy(), str(path))
    if labels is not None and (own := own_values(values, path, labels)):
        differs = f"{path}: its header names organs by the values {own}, labels={dict(labels)}"
        if told is None:
            log.warning("%s: read by labels; if the header is right, give its values", differs)
        else:
            told.append(f"{differs}: read by the header's names")
            values = revalued(values, own, labels)
    return found.new_tensor(values, dtype=torch.uint8)


def _joined(volume: MetaTensor, folder: str | Path, labels: Labels) -> MetaTensor:
    known, joined = organ_values(labels), None
    for organ, paths in masks_in(folder, known).items():
        for mask in (read_labels_like(volume, path) for path in paths):
            joined = torch.zeros_like(mask) if joined is None else joined
            joined[(joined == 0) & (mask > 0)] = known[organ][0]
    if joined is None:
        raise InputError(f"{folder} has no mask of {list(known)}: name them after the organs")
    return joined
