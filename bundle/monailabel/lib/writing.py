"""Answers as files: on exactly the image's grid, as fast as can be, a clinician waits for them."""

import tempfile

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

NIFTI = (".nii.gz", ".nii")
EXTENSIONS = (".nrrd", *NIFTI, ".mha")


def written(answer: MetaTensor, extension: str, compress: bool = False) -> str:
    """Write a label volume, 1xXxYxZ, uint8, and return the temporary file.

    Args:
        answer: with the affine of its image.
        extension: of the file, see EXTENSIONS.
        compress: NRRD and MetaImage.
    """
    values, affine = answer.numpy()[0], np.asarray(answer.affine, dtype=float)
    with tempfile.NamedTemporaryFile(suffix=extension, delete=False) as file:
        path = file.name
    if extension in NIFTI:  # MONAI's own takes three times as long
        nib.save(nib.Nifti1Image(values, affine), path)
        return path
    to_lps = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)[:3]
    spacing = np.linalg.norm(to_lps[:, :3], axis=0)
    turned = np.zeros(values.shape[::-1], np.uint8)
    for k in np.flatnonzero(values.any((0, 1))):  # turning all of it takes longer than the click
        turned[k] = values[:, :, k].T
    image = sitk.GetImageFromArray(turned)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(to_lps[:, 3].tolist())
    image.SetDirection((to_lps[:, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, path, compress)
    return path
