"""DICOM series as volumes: each slice's header is checked, and the checked slices are read."""

import logging
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with
from samparser_monai.volumes.dicom_headers import Plane, description_of, headers_in, planes_in

TOLERANCE_MM = 0.1
"""How far a slice may lie from where even spacing has it."""

log = logging.getLogger(__name__)


def read_series(path: str | Path) -> MetaTensor:
    """Read a folder, or a multi-frame file, of one DICOM series: 1xXxYxZ float32.

    X runs along the rows, Y down the columns and Z along their normal; the affine (RAS, mm) holds
    the tilt of a gantry as a shear.

    Raises:
        InputError: as planes_of; pixels that cannot be decoded.
    """
    planes = planes_of(path)
    stacks = {file: _pixels(file) for file in dict.fromkeys(plane.file for plane in planes)}
    if any(stacks[p.file].shape[1:] != p.shape or p.frame >= len(stacks[p.file]) for p in planes):
        raise InputError(f"{path}: its pixels are not of the size in its headers: replace it")
    values = np.stack([stacks[plane.file][plane.frame] for plane in planes])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ _affine(planes)
    meta = {"filename_or_obj": str(path), "original_affine": affine}
    return MetaTensor(values.transpose(2, 1, 0)[None].copy(), affine=affine, meta=meta)


def planes_of(path: str | Path) -> list[Plane]:
    """Return the slices of the one DICOM series that a folder, or a file, holds, in their order.

    Raises:
        InputError: another number of series; a file that cannot be read, is cut off or does not
            belong; slices that are doubled, missing, or not evenly spaced.
    """
    series: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for file, header in headers_in(Path(path)):
        series[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    if len(series) != 1:
        kinds = [
            f"{len(found)} files as {found[0][0].name} ({description_of(found[0][1])})"
            for found in series.values()
        ]
        raise InputError(
            f"{path} holds {len(series)} DICOM series{': ' if kinds else ''}{', '.join(kinds)}; "
            "give each series its own folder"
        )
    (found,) = series.values()
    planes = [plane for file, header in found for plane in planes_in(file, header)]
    _check_alike(planes)
    normal = np.cross(*planes[0].axes)
    planes.sort(key=lambda plane: float(plane.position @ normal))
    _check_spacing(planes, normal, path)
    return planes


def is_dicom(path: Path) -> bool:
    """Tell whether a file is a DICOM file, by its first bytes."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def holds_scan(path: Path) -> bool:
    """Tell whether a file is DICOM and shows what could be segmented: no report, no segmentation.

    Raises:
        InputError: it is called DICOM and cannot be read.
    """
    if path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    if not ends_with(path, (".dcm", ".ima")) and not (os.access(path, os.R_OK) and is_dicom(path)):
        return False
    return any(header.get("Modality") != "SEG" for _, header in headers_in(path))


def _check_alike(planes: list[Plane]) -> None:
    """Raise an InputError that names the slices unlike most others."""
    for what, value in (
        ("rows and columns", lambda p: p.shape),
        ("PixelSpacing", lambda p: tuple(np.round(p.spacing, 3).tolist())),
        ("ImageOrientationPatient", lambda p: tuple((np.round(p.axes.ravel(), 2) + 0.0).tolist())),
    ):
        counts = Counter(value(plane) for plane in planes)
        (usual, count), *others = counts.most_common()
        if others:
            files = {plane.file.name: value(plane) for plane in planes if value(plane) != usual}
            name, other = next(iter(files.items()))
            folder = planes[0].file.parent
            raise InputError(
                f"{folder / name} does not belong to its series: its {what} are {list(other)} and "
                f"those of {count} other slices {list(usual)} ({len(files)} such files): move it "
                "away, or give each series its own folder"
            )
    rescales = defaultdict(set)
    for plane in planes:
        rescales[plane.file].add(plane.rescale)
    for file, found in rescales.items():
        if len(found) > 1:
            raise InputError(
                f"{file} rescales its frames differently ({sorted(found)[:2]}): give it as NIfTI"
            )


def _check_spacing(planes: list[Plane], normal: np.ndarray, path: str | Path) -> None:
    if len(planes) < 2:
        return
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    steps = np.diff(along)
    if steps.min() < 1e-3:
        at = int(steps.argmin())
        raise InputError(
            f"{path} holds {len(planes)} slices, of which {planes[at].file.name} and "
            f"{planes[at + 1].file.name} lie on the same position: remove the duplicates, or give "
            "each time point its own folder"
        )
    usual, at = float(np.median(steps)), int(steps.argmax())
    where = f"after {planes[at].file.name}, at {along[at]:.1f} mm"
    if steps.max() > 1.5 * usual and np.allclose(np.delete(steps, at), usual, atol=TOLERANCE_MM):
        raise InputError(
            f"{path} has a gap of {steps.max():.2f} mm {where}, where slices lie {usual:.2f} mm "
            "apart: slices are missing; complete the series"
        )
    apart = np.linalg.norm(
        positions - np.linspace(positions[0], positions[-1], len(planes)), axis=1
    )
    if apart.max() > TOLERANCE_MM:
        raise InputError(
            f"{path} is not evenly spaced: its slices lie {steps.min():.2f} to {steps.max():.2f} "
            f"mm apart (the widest {where}), and {planes[int(apart.argmax())].file.name} "
            f"{apart.max():.2f} mm from where a volume has it: resample it, or give its even part"
        )
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
    if tilt > 45:
        raise InputError(
            f"{path}: its slices are shifted by {tilt:.0f} degrees against each other: correct "
            "ImagePositionPatient or ImageOrientationPatient"
        )
    if tilt > 0.5:
        log.warning(
            "%s: the gantry was tilted by %.1f degrees: the affine has a shear, which tools built "
            "on ITK do not open; --dicom_seg True is for them",
            path,
            tilt,
        )


def _affine(planes: list[Plane]) -> np.ndarray:
    """Return the 4x4 matrix from column, row and slice to LPS mm."""
    first, last = planes[0], planes[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = (last.position - first.position) / max(len(planes) - 1, 1)
    if len(planes) == 1:
        affine[:3, 2] = np.cross(*first.axes) * first.thickness
    affine[:3, 3] = first.position
    return affine


def _pixels(file: Path) -> np.ndarray:
    """Return the frames of a file, NxHxW, rescaled."""
    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(file), sitk.sitkFloat32))
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise InputError(f"{file} cannot be read as a DICOM slice ({last}): replace it") from error
    return values.reshape(-1, *values.shape[-2:])
