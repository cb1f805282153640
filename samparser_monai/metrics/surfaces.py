"""How well a whole organ was found, by MONAI's metrics."""

from collections.abc import Mapping

import numpy as np
import torch
from monai.metrics import compute_dice, compute_surface_dice

from samparser_monai.errors import InputError


class OrganScores:
    """DSC and normalized surface distance (NSD) of one organ in one volume, in percent.

    Args:
        tolerance: how far in mm a surface may be off and still count as found, for all organs or
            organ -> mm.
    """

    def __init__(self, tolerance: float | Mapping[str, float] = 2.0) -> None:
        values = tolerance.values() if isinstance(tolerance, Mapping) else [tolerance]
        if not all(isinstance(value, int | float) and value >= 0 for value in values):
            raise InputError(f"tolerance={tolerance!r} must be mm, or a mapping organ -> mm")
        self.tolerance = tolerance

    def __call__(
        self, prediction: np.ndarray, truth: np.ndarray, spacing: np.ndarray, organ: str
    ) -> dict[str, float]:
        """Return ``dsc`` and ``nsd`` of two masks of the same shape; spacing in mm."""
        tolerance = self.tolerance
        if isinstance(tolerance, Mapping):
            if organ not in tolerance:
                raise InputError(f"tolerance={dict(tolerance)} has none for {organ!r}: add it")
            tolerance = tolerance[organ]
        shown = np.argwhere(prediction | truth)
        if not len(shown):
            return {}
        around = tuple(slice(max(low - 1, 0), high + 2) for low, high in _ends(shown))
        one, other = (torch.from_numpy(m[around])[None, None] for m in (prediction, truth))
        near = compute_surface_dice(
            one, other, [tolerance], include_background=True, spacing=spacing.tolist()
        )
        dsc = compute_dice(one, other, include_background=True, ignore_empty=False)
        return {"dsc": round(100 * float(dsc), 2), "nsd": round(100 * float(near), 2)}


def _ends(positions: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(positions.min(0).tolist(), positions.max(0).tolist(), strict=True))
