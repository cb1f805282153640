"""Reading volumes, checked: one clear error for each way a file can be unusable."""

import logging
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from nibabel.openers import ImageOpener

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with, files_below
from samparser_monai.volumes.dicom import is_dicom, read_series
from samparser_monai.volumes.organ_names import same_organ
from samparser_monai.volumes.organs import Labels, organ_values, whole_labels

AXES = "LPS"
"""Voxel axes after reading: to the patient's left, to the back, to the head."""

TOLERANCE_MM = 0.1
"""How far the corners of an image and of its label may lie apart."""

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
    if not has_q or not has_s or _farthest(qform, sform, image.shape[:3]) <= TOLERANCE_MM:
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        by_itk = _ras(reader)
        near = _farthest(by_itk, sform, image.shape[:3]) <= TOLERANCE_MM
        tool = (
            "and ITK (3D Slicer) read, and the qform"
            if near
            else ("reads, and the qform, which ITK (3D Slicer) reads")
        )
    except RuntimeError:
        tool = "reads, and the qform; ITK (3D Slicer) reads neither"
    apart = _farthest(qform, sform, image.shape[:3])
    return f"its sform, which nibabel (and so this program) {tool}, lie up to {apart:.1f} mm apart"


def check_hounsfield(low: float, high: float, window: Sequence[float], where: str) -> None:
    """Warn where values from ``low`` to ``high`` are no HU though the window reaches below 0.

    Raises:
        InputError: they go from 0 to 255: a picture, windowed already.
    """
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


def along(volume: MetaTensor, other: MetaTensor) -> MetaTensor:
    """Return a volume with its axes in the order, and the directions, of another's."""
    axes = "".join(nib.aff2axcodes(np.asarray(other.affine, dtype=float)))
    return Orientation(axes, labels=None)(volume)


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
    return _farthest(np.asarray(one.affine), np.asarray(other.affine), one.shape[1:])


def _farthest(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    ends = [(0, side - 1) for side in shape]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))], -1).reshape(-1, 4)
    moved = corners @ (one - other).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
