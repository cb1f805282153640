"""Reading volumes, checked: one clear error for each way a file can be unusable."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor
from monai.transforms import LoadImage, Orientation

from samparser_monai.data.labels import whole_labels
from samparser_monai.errors import InputError

AXES = "LPS"
"""Voxel axes after reading: to the patient's left, to the back, to the head."""

TOLERANCE_MM = 0.1
"""How far the corners of an image and of its label may lie apart."""


def read_volume(path: str | Path) -> MetaTensor:
    """Read a NIfTI file or a folder with one DICOM series: 1xXxYxZ, along its own axes.

    Raises:
        InputError: missing, damaged, not one 3-D volume, with numbers that are not finite.
    """
    if not Path(path).exists():
        raise InputError(f"{path} does not exist: correct the path")
    if Path(path).is_dir():
        check_series(path)
    try:
        volume = LoadImage(ensure_channel_first=True)(str(path))
    except Exception as error:
        last = (str(error) or type(error).__name__).strip().splitlines()[-1]
        raise InputError(
            f"{path} cannot be read as a volume ({last}): it is damaged, in colour, or not a "
            "NIfTI file or DICOM series; replace it"
        ) from error
    if volume.ndim != 4 or len(volume) != 1:
        raise InputError(
            f"{path} is not one 3-D volume: its shape is {tuple(volume.shape[1:])} with "
            f"{len(volume)} channels; save each time point or channel as a file of its own"
        )
    if not np.isfinite(volume.numpy()).all():
        count = int((~np.isfinite(volume.numpy())).sum())
        raise InputError(f"{path} holds {count} voxels that are NaN or infinite: replace them")
    return volume


def check_series(folder: str | Path) -> None:
    """Raise an InputError unless a folder holds one DICOM series with evenly spaced slices.

    MONAI would read one series of several, and would close a gap.
    """
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise InputError(
            f"{folder} holds {len(series)} DICOM series: give each series its own folder"
        )
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    header, positions = sitk.ImageFileReader(), []
    for file in files:
        header.SetFileName(file)
        try:
            header.ReadImageInformation()
            position, axes = (
                np.array(header.GetMetaData(tag).split("\\"), dtype=float)
                for tag in ("0020|0032", "0020|0037")
            )
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise InputError(f"{file} cannot be read as a DICOM slice ({last})") from error
        positions.append(position @ np.cross(axes[:3], axes[3:]))
    steps = np.diff(np.sort(positions))
    if len(steps) and steps.min() < 1e-3:
        raise InputError(
            f"{folder} holds {len(files)} slices, some of which lie on the same position: remove "
            "the duplicates, or give each time point its own folder"
        )
    if len(steps) and steps.max() > 1.5 * np.median(steps):
        where = float(np.sort(positions)[int(steps.argmax())])
        raise InputError(
            f"{folder} has a gap of {steps.max():.2f} mm at {where:.1f} mm where slices lie "
            f"{np.median(steps):.2f} mm apart: slices are missing; complete the series"
        )


def read_oriented(path: str | Path) -> MetaTensor:
    """Read a volume as read_volume, its axes brought to LPS."""
    return Orientation(AXES, labels=None)(read_volume(path))


def read_pair(image: str | Path, label: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its label on the same grid, each XxYxZ along LPS.

    Raises:
        InputError: as read_volume; shapes or affines that do not agree; an empty label, or one
            whose values are not whole, see whole_labels.
    """
    volume, truth = read_oriented(image), read_oriented(label)
    check_same_grid(volume, truth, image, label)
    values = whole_labels(truth.numpy()[0], str(label))
    if not values.any():
        raise InputError(f"{label} is all zero: label at least one organ, or leave the case out")
    return volume.numpy()[0], values


def check_same_grid(
    one: MetaTensor, other: MetaTensor, path: str | Path, other_path: str | Path
) -> None:
    """Raise an InputError unless two volumes, read from these paths, lie on the same grid."""
    if one.shape != other.shape:
        raise InputError(
            f"{other_path} has shape {tuple(other.shape[1:])} and {path} has "
            f"{tuple(one.shape[1:])}: they must lie on the same grid; resample it"
        )
    apart = corner_distance(one, other)
    if apart > TOLERANCE_MM:
        raise InputError(
            f"{other_path} lies up to {apart:.2f} mm away from {path} (tolerance {TOLERANCE_MM} "
            "mm): their affines must agree; resample it or correct its header"
        )


def corner_distance(one: MetaTensor, other: MetaTensor) -> float:
    """Return how far apart, in mm, the corners of two volumes of the same shape lie at most."""
    ends = [(0, side - 1) for side in one.shape[1:]]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))], -1).reshape(-1, 4)
    moved = corners @ (np.asarray(one.affine) - np.asarray(other.affine)).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
