"""Label volumes as files, in the geometry of their source."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.transforms import Transform

from samparser_monai.errors import writable
from samparser_monai.files import ends_with, replacing


class SaveLabeld(Transform):
    """Write the label volume ``pred`` of an item as ``<case>.nii.gz`` on its source's grid.

    Args:
        output_dir: of the files; each is written to a temporary name, then renamed.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = writable("output_dir", output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the item's label volume."""
        source = Path(data["image"].meta["filename_or_obj"])
        values = data["pred"].cpu().numpy()[0].astype(np.uint8)
        if ends_with(source, (".nii", ".nii.gz")):
            like = nib.load(source)
            header = like.header.copy()
            header.set_data_dtype(np.uint8)
            header.set_slope_inter(1, 0)
            label = nib.Nifti1Image(values.reshape(like.shape), like.affine, header)
        else:
            label = nib.Nifti1Image(values, data["image"].meta["original_affine"])
        with replacing(self.folder / f"{data['case']}.nii.gz") as temporary:
            nib.save(label, temporary)
        return dict(data)
