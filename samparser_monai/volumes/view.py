"""A volume as pictures: which of its axes are their columns, their rows, and the slices."""

from functools import cached_property

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from torch import Tensor

from samparser_monai.errors import unknown
from samparser_monai.volumes.grids import along, spacing_of

PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}
"""Plane -> where the columns, the rows and the slices of its pictures run to."""


class View:
    """The pictures of a volume, on the CPU, wherever the volume came from.

    Args:
        volume: 1xXxYxZ, windowed to 0..255, along any axes.
        plane: of the pictures: axial, coronal, sagittal, or the one of acquisition.

    Attributes:
        plane: of the pictures, chosen.
        values: the same voxels, 1xCxRxS: columns, rows and slices.
        size: of a picture, (H, W).
        depth: how many slices there are.
    """

    def __init__(self, volume: MetaTensor, plane: str = "acquisition") -> None:
        check_plane(plane)
        self.volume = volume.cpu()
        self.plane = plane_of(self.volume) if plane == "acquisition" else plane
        self.values = Orientation(PLANES[self.plane], labels=None)(self.volume)
        _, columns, rows, self.depth = self.values.shape
        self.size = (rows, columns)

    @property
    def lateral(self) -> int:
        """Which of columns, rows and slices (0 to 2) runs from side to side of the body."""
        return PLANES[self.plane].index("L")

    @property
    def path(self) -> str:
        """Where the volume came from."""
        return str(self.volume.meta["filename_or_obj"])

    @cached_property
    def spacing(self) -> np.ndarray:
        """The distances in mm (3,) from column to column, row to row and slice to slice."""
        return spacing_of(self.values)

    def picture(self, k: int) -> Tensor:
        """Return slice ``k``, HxW, 0..255."""
        return self.values[0, :, :, k].as_tensor().T

    def seen(self, volume: MetaTensor) -> np.ndarray:
        """Return another volume (1xXxYxZ) on the source's grid as CxRxS."""
        return along(volume.cpu(), self.values)[0].numpy()

    def unseen(self, values: MetaTensor) -> MetaTensor:
        """Bring what lies along the view, 1xCxRxS, to the source's own grid, 1xXxYxZ."""
        return along(values, self.volume)


def check_plane(plane: str) -> None:
    """Raise an InputError for a plane that is not known."""
    if plane not in (*PLANES, "acquisition"):
        raise unknown("plane", plane, (*PLANES, "acquisition"))


def plane_of(volume: MetaTensor) -> str:
    """Return the plane of a volume's acquisition: that of two equal spacings; axial in doubt."""
    x, y, z = spacing_of(Orientation(PLANES["axial"], labels=None)(volume))
    unequal = {"axial": abs(x - y), "coronal": abs(x - z), "sagittal": abs(y - z)}
    return min(unequal, key=lambda plane: round(unequal[plane], 3))
