"""The headers of DICOM files: which hold a slice, and where it lies in the patient."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from samparser_monai.errors import InputError
from samparser_monai.files import files_below

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


def headers_in(path: Path) -> list[tuple[Path, Any]]:
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
            log.warning("%s is left out: it holds no picture (%s)", file, description_of(header))
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


def planes_in(file: Path, header: Any) -> list[Plane]:
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


def description_of(header: Any) -> str:
    """Return what a person recognizes a series by."""
    text = header.get("SeriesDescription") or "\\".join(header.get("ImageType", []))
    return str(text or header.get("Modality", "of no kind"))
