"""What was found in a volume, for a notebook."""

import base64
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samparser_monai.errors import InputError
from samparser_monai.volumes.page import draw_case
from samparser_monai.volumes.saving import SaveLabeld
from samparser_monai.volumes.segmentation import Segmentation


class SegmentedVolume:
    """The label volume that prompts have made, on the source's grid.

    Attributes:
        found: masks, logits and predicted IoU slice by slice.
        organs: organ -> its value in ``labels``, of those that were asked for.
        warnings: about prompts that were taken nevertheless.
    """

    def __init__(self, found: Segmentation) -> None:
        self.found = found
        asked = {row["organ"] for row in found.table()}
        self.organs = {name: v[0] for name, v in found.values.items() if name in asked}
        self.warnings = list(found.warnings)

    @cached_property
    def _labels(self) -> Any:
        return self.found.labels()

    @property
    def labels(self) -> np.ndarray:
        """XxYxZ, uint8, along the axes of the source's own array."""
        values: np.ndarray = self._labels[0].numpy()
        return values

    @property
    def affine(self) -> np.ndarray:
        """4x4, from voxels to RAS in millimetres."""
        affine: np.ndarray = self._labels.affine.numpy()
        return affine

    def mask(self, organ: str) -> np.ndarray:
        """Return where an organ is, XxYxZ, bool.

        Raises:
            InputError: it was not asked for.
        """
        if organ not in self.organs:
            raise InputError(f"organ={organ!r} was not asked for: known are {list(self.organs)}")
        return self.labels == self.organs[organ]

    def table(self) -> list[dict[str, Any]]:
        """Return a row to an organ: organ, slices, predicted IoU (mean)."""
        return self.found.table()

    def show(self) -> Image.Image:
        """Return outlines on three slices, as a picture that notebooks display."""
        view = self.found.view
        organs = {name: [value] for name, value in self.organs.items()}
        pictures = view.values[0].as_tensor().numpy()
        drawn = draw_case(pictures, view.seen(self._labels), None, organs)
        return Image.open(BytesIO(base64.b64decode(drawn)))

    def save(self, path: str | Path) -> Path:
        """Write the label volume as NIfTI in the source's geometry; return its path.

        Raises:
            InputError: the ending is another, or the file is there already.
        """
        path = Path(path)
        if not path.name.endswith(".nii.gz"):
            raise InputError(f"path={str(path)!r} must end in .nii.gz")
        if path.exists():
            raise InputError(f"path={str(path)!r} is there already: name another, or remove it")
        case = path.name.removesuffix(".nii.gz")
        SaveLabeld(path.parent)({"image": self._source, "pred": self._labels, "case": case})
        return path

    @property
    def _source(self) -> Any:
        return self.found.view.volume
