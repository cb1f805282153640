"""Reading volumes, checked: one clear error for each way a file can be unusable."""

import logging
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor
from monai.transforms import Orientation
from nibabel.openers import ImageOpener

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with
from samparser_monai.volumes.dicom import is_dicom, read_series
from samparser_monai.volumes.grids import TOLERANCE_MM, farthest

AXES = "LPS"
"""Voxel axes after reading: to the patient's left, to the back, to the head."""

NIFTI = (".nii", ".nii.gz")
ENDINGS = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
"""Of files that hold a volume, in lower case."""

log = logging.getLogger(__name__)


def read_volume(path: str | Path) -> MetaTensor:
    """Read a NIfTI, NRRD or MetaImage file, or one DICOM series: 1xXxYxZ, along its own axes.

    A series is a folder, or a multi-frame file. Where a NIfTI file's sform and qform disagree it
    is the sform that is read.

    Raises:
        InputError: missing, damaged, not one 3-D volume, with numbers that are not finite, or
            with a geometry that is impossible.
    """
    path = Path(path)
    if not path.exists():
        broken = f"is a broken link to {path.readlink()}" if path.is_symlink() else "does not exist"
        raise InputError(f"{path} {broken}: correct the path")
    try:
        if path.is_dir() or (not ends_with(path, ENDINGS) and is_dicom(path)):
            volume = read_series(path)
        else:
            volume = _read_nifti(path) if ends_with(path, NIFTI) else _read_by_itk(path)
    except InputError:
        raise
    except Exception as error:
        last = (str(error) or type(error).__name__).strip().splitlines()[-1]
        raise InputError(
            f"{path} cannot be read as a volume ({last}): it is damaged, in colour, or not a "
            "NIfTI, NRRD or MetaImage file or DICOM series; replace it"
        ) from error
    return _checked(volume, path)


def volume_of(values: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """Return an array XxYxZ with its affine (RAS) as a volume, 1xXxYxZ, checked as a file's is.

    Raises:
        InputError: see read_volume.
    """
    if affine.shape != (4, 4):
        raise InputError(f"affine must be 4x4, not {affine.shape}")
    path = Path("the array")
    return _checked(_volume(path, values, affine), path)


def _checked(volume: MetaTensor, path: Path) -> MetaTensor:
    if volume.ndim != 4 or len(volume) != 1:
        raise InputError(
            f"{path} is not one 3-D volume: its shape is {tuple(volume.shape[1:])} with "
            f"{len(volume)} channels; save each time point or channel as a file of its own"
        )
    if not np.isfinite(volume.numpy()).all():
        count = int((~np.isfinite(volume.numpy())).sum())
        raise InputError(f"{path} holds {count} voxels that are NaN or infinite: replace them")
    return volume


def _read_nifti(path: Path) -> MetaTensor:
    image = nib.load(path)
    if (unit := image.header.get_xyzt_units()[0]) in ("meter", "micron"):
        raise InputError(
            f"{path} gives its places in {unit}s, which nibabel reads as mm and ITK (3D Slicer) "
            "converts: save it in mm, by SimpleITK.WriteImage(SimpleITK.ReadImage(FILE), OTHER)"
        )
    return _volume(path, np.asarray(image.get_fdata(dtype=np.float32)), image.affine)


def _read_by_itk(path: Path) -> MetaTensor:
    image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    if channels := image.GetNumberOfComponentsPerPixel() - 1:
        values = np.moveaxis(values, -1, 0)
    values = values.transpose(
        *range(bool(channels)), *range(values.ndim - 1, bool(channels) - 1, -1)
    )
    if channels:
        return MetaTensor(values)
    return _volume(path, values, _ras(image))


def _ras(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """Return the affine of what ITK has read, or only of its header, of three axes."""
    sides = image.GetDimension()
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (sides, sides)) * image.GetSpacing()
    affine[:3, :3] = directions[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _volume(path: Path, values: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """Return values XxYxZ(x1..) as a volume once its affine (RAS) is known to be possible."""
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    channels = np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sides.prod():
        raise InputError(
            f"{path}: its affine {np.round(affine[:3].astype(float), 3).tolist()} has NaN or is "
            "singular: correct its header (sform, qform, pixdim)"
        )
    if ends_with(path, NIFTI):
        _check_pixdim(path)
    meta = {"filename_or_obj": str(path), "original_affine": affine.astype(float)}
    return MetaTensor(channels, affine=affine.astype(float), meta=meta)


def _check_pixdim(path: Path) -> None:
    """Raise an InputError where nibabel would take 1 mm for a spacing that is not there."""
    header = nib.load(path).header
    with ImageOpener(path) as file:
        raw = type(header).from_fileobj(file, check=False)
    sides = raw["pixdim"][1:4]
    if raw["sform_code"] == 0 and not (np.isfinite(sides) & (sides != 0)).all():
        raise InputError(
            f"{path}: its pixdim {sides.tolist()} gives no spacing: correct its header"
        )


def disagreeing_forms(path: str | Path) -> str | None:
    """Say which tool reads which where a NIfTI file has more than one place in the world.

    Returns:
        None where there is one place, or the path is not that of a NIfTI file.
    """
    path = Path(path)
    if not ends_with(path, NIFTI) or not path.is_file():
        return None
    image = nib.load(path)
    (qform, has_q), (sform, has_s) = image.get_qform(coded=True), image.get_sform(coded=True)
    if not has_q and not has_s:
        return "it has neither sform nor qform: nibabel and ITK (3D Slicer) place it differently"
    if not has_q or not has_s or farthest(qform, sform, image.shape[:3]) <= TOLERANCE_MM:
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        by_itk = _ras(reader)
        near = farthest(by_itk, sform, image.shape[:3]) <= TOLERANCE_MM
        tool = (
            "and ITK (3D Slicer) read, and the qform"
            if near
            else ("reads, and the qform, which ITK (3D Slicer) reads")
        )
    except RuntimeError:
        tool = "reads, and the qform; ITK (3D Slicer) reads neither"
    apart = farthest(qform, sform, image.shape[:3])
    return f"its sform, which nibabel (and so this program) {tool}, lie up to {apart:.1f} mm apart"


NORMALIZED = 50
"""HU within which no CT stays: it has air, or fat and bone."""


def check_hounsfield(low: float, high: float, window: Sequence[float], where: str) -> None:
    """Warn where values from ``low`` to ``high`` are no HU though the window reaches below 0.

    Raises:
        InputError: they go from 0 to 255: a picture, windowed already; or they are normalized.
    """
    if window[0] < 0 and -NORMALIZED < low < 0 and high < NORMALIZED:
        raise InputError(
            f"{where} has values from {low:g} to {high:g} where window={list(window)} expects HU: "
            "is it normalized? Give the CT itself, or its own --window"
        )
    if not window[0] < 0 <= low:
        return
    if high <= 255:
        raise InputError(
            f"{where} has values from {low:g} to {high:g} where window={list(window)} expects HU: "
            'is it windowed already? Give the CT itself, or --window "[0,255]"'
        )
    log.warning(
        "%s has values from %g to %g, none below 0, where window=%s expects HU: is it offset by "
        "1024, or MR? Give the CT in HU, or another --window",
        *(where, low, high, list(window)),
    )


def read_oriented(path: str | Path) -> MetaTensor:
    """Read a volume as read_volume, its axes brought to LPS."""
    return Orientation(AXES, labels=None)(read_volume(path))
