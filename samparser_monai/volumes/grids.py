"""Where voxels lie in the patient: axes, spacings, and whether two volumes share a grid."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation

from samparser_monai.errors import InputError

TOLERANCE_MM = 0.1
"""How far the corners of an image and of its label may lie apart, or a quarter of a voxel."""


def along(volume: MetaTensor, other: MetaTensor) -> MetaTensor:
    """Return a volume with its axes in the order, and the directions, of another's."""
    axes = "".join(nib.aff2axcodes(np.asarray(other.affine, dtype=float)))
    return Orientation(axes, labels=None)(volume)


def spacing_of(volume: MetaTensor) -> np.ndarray:
    """Return the distances in mm (3,) between voxels along each axis."""
    return np.linalg.norm(np.asarray(volume.affine, dtype=float)[:3, :3], axis=0)


def check_same_grid(
    one: MetaTensor, other: MetaTensor, path: str | Path, other_path: str | Path
) -> None:
    """Raise an InputError unless two volumes, read from these paths, lie on the same grid."""
    if one.shape != other.shape:
        raise InputError(
            f"{other_path} has shape {tuple(other.shape[1:])} and {path} has "
            f"{tuple(one.shape[1:])}: they must lie on the same grid; resample it"
        )
    apart = farthest(np.asarray(one.affine), np.asarray(other.affine), one.shape[1:])
    tolerance = min(TOLERANCE_MM, float(spacing_of(one).min()) / 4)
    if apart > tolerance:
        raise InputError(
            f"{other_path} lies up to {apart:.2f} mm away from {path} (tolerance {tolerance:.2g} "
            "mm): their affines must agree; resample it or correct its header"
        )


def farthest(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far apart, in mm, two affines put the corners of a shape at most."""
    ends = [(0, side - 1) for side in shape]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))], -1).reshape(-1, 4)
    moved = corners @ (one - other).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
