"""DICOM series as volumes: each slice's header is checked, and the checked slices are read."""

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from monai.data import MetaTensor
from pydicom.errors import InvalidDicomError

from samparser_monai.errors import InputError
from samparser_monai.files import files_below

TOLERANCE_MM = 0.1
"""How far a slice may lie from where even spacing has it."""

GROUPS = {  # keyword -> where multi-frame files keep it
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plane:
    """One slice of a series.

    Attributes:
        file: that holds it.
        frame: which one of a multi-frame file.
        position: of its first pixel, LPS, mm.
        axes: 2x3, unit vectors along a row and down a column, LPS.
        spacing: between rows and between columns, mm.
        shape: rows and columns.
        rescale: slope and intercept.
        thickness: mm; 1 where the header has none.
    """

    file: Path
    frame: int
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    rescale: tuple[float, float]
    thickness: float


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
    for file, header in _headers(Path(path)):
        series[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    if len(series) != 1:
        kinds = [
            f"{len(found)} files as {found[0][0].name} ({_told(found[0][1])})"
            for found in series.values()
        ]
        raise InputError(
            f"{path} holds {len(series)} DICOM series{': ' if kinds else ''}{', '.join(kinds)}; "
            "give each series its own folder"
        )
    (found,) = series.values()
    planes = [plane for file, header in found for plane in _planes(file, header)]
    _check_alike(planes)
    normal = np.cross(*planes[0].axes)
    planes.sort(key=lambda plane: float(plane.position @ normal))
    _check_spacing(planes, normal, path)
    return planes


def is_dicom(path: Path) -> bool:
    """Tell whether a file is a DICOM file, by its first bytes."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _headers(path: Path) -> list[tuple[Path, Any]]:
    """Return the files that hold pictures, with their headers."""
    files = [f for f in files_below(path) if f.name.upper() != "DICOMDIR"]
    read: list[tuple[Path, Any]] = []
    unread: dict[Path, str] = {}
    for file in files if path.is_dir() else [path]:
        try:
            header = _header(file)
        except Exception as error:  # pydicom raises what it meets
            unread[file] = " ".join(str(error).split()) or type(error).__name__
            continue
        if "Rows" in header:
            read.append((file, header))
        else:
            log.warning("%s is left out: it holds no picture (%s)", file, _told(header))
    endings = {file.suffix.lower() for file, _ in read} | {".dcm", ".ima"}
    for file, reason in unread.items():
        if file.suffix.lower() in endings:
            raise InputError(
                f"{file} cannot be read as a DICOM slice ({reason}): replace it, or move it away"
            )
        log.warning("%s is left out: it is no DICOM file", file)
    return read


def _header(file: Path) -> Any:
    """Return a file's header, once its pixels are known to be all there."""
    try:
        header = pydicom.dcmread(file)
    except InvalidDicomError:  # some archives write no preamble
        header = pydicom.dcmread(file, force=True)
        if "SOPClassUID" not in header:
            raise
    if "Rows" not in header:
        kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        if kind is None or "Image Storage" in kind.name:
            raise ValueError("its header ends early")
        return header
    if "PixelData" not in header:
        raise ValueError("it ends before its pixels")
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        frames, samples = (int(header.get(k) or 1) for k in ("NumberOfFrames", "SamplesPerPixel"))
        wanted = frames * samples * header.Rows * header.Columns * header.BitsAllocated // 8
        if len(header.PixelData) < wanted:
            raise ValueError(f"it has {len(header.PixelData)} of {wanted} bytes of pixels")
    del header.PixelData
    return header


def _planes(file: Path, header: Any) -> list[Plane]:
    """Return the slices of a file.

    Raises:
        InputError: it is a localizer, in colour, inverted, or its header lacks what is needed.
    """
    for wrong, reason, remedy in (
        (
            "LOCALIZER" in header.get("ImageType", []),
            "is a localizer",
            "move it out of the series",
        ),
        (header.get("SamplesPerPixel", 1) != 1, "is in colour", "give the CT itself"),
        (
            header.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2",
            f"is in {header.get('PhotometricInterpretation')}: whether its numbers are inverted "
            "cannot be told",
            "export it again as MONOCHROME2",
        ),
    ):
        if wrong:
            raise InputError(f"{file} {reason}: {remedy}")
    return [_plane(file, header, n) for n in range(int(header.get("NumberOfFrames") or 1))]


def _plane(file: Path, header: Any, frame: int) -> Plane:
    def numbers(keyword: str, count: int, default: Any = None) -> np.ndarray:
        groups = [header]
        if "PerFrameFunctionalGroupsSequence" in header:
            groups = [header.PerFrameFunctionalGroupsSequence[frame]]
            groups += header.get("SharedFunctionalGroupsSequence", [])
            groups = [g[GROUPS[keyword]][0] for g in groups if GROUPS[keyword] in g]
        value = next((g[keyword].value for g in groups if keyword in g), default)
        try:
            found = np.atleast_1d(np.asarray(value, dtype=float))
        except (TypeError, ValueError):
            found = np.array([])
        if found.shape != (count,) or not np.isfinite(found).all():
            raise InputError(
                f"{file} has no usable {keyword} ({value}): complete its header, or give the "
                "volume as NIfTI"
            )
        return found

    # CT is in HU only by its rescaling; other kinds of pictures may do without
    default = None if header.get("Modality") == "CT" else (1, 0)
    axes = numbers("ImageOrientationPatient", 6).reshape(2, 3)
    spacing = numbers("PixelSpacing", 2)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=0.01) or (spacing <= 0).any():
        raise InputError(
            f"{file} has an impossible ImageOrientationPatient {axes.ravel().tolist()} or "
            f"PixelSpacing {spacing.tolist()}: correct its header"
        )
    return Plane(
        file,
        frame,
        numbers("ImagePositionPatient", 3),
        axes,
        (spacing[0], spacing[1]),
        (int(header.Rows), int(header.Columns)),
        (
            numbers("RescaleSlope", 1, default and default[0])[0],
            numbers("RescaleIntercept", 1, default and default[1])[0],
        ),
        float(header.get("SliceThickness") or 1),
    )


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


def _told(header: Any) -> str:
    """Return what a person recognizes a series by."""
    text = header.get("SeriesDescription") or "\\".join(header.get("ImageType", []))
    return str(text or header.get("Modality", "of no kind"))
