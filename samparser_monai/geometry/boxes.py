"""Boxes of masks: XYXY in pixels, x along the columns, corners included.

The box of one pixel at row 3, column 5 is (5, 3, 5, 3).
"""

import numpy as np
import torch
from torch import Tensor

MARGIN = 0.03
"""By which the box of a mask is widened to be asked by it, as a share of its sides."""


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the tight XYXY boxes (Nx4, float32) of non-empty masks (NxHxW)."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def box_of(mask: Tensor) -> np.ndarray | None:
    """Return the tight XYXY box (4,) of a mask (HxW, bool), on any device; None if it is empty."""
    sides = torch.cat([mask.any(0), mask.any(1)]).cpu().numpy()
    columns, rows = (np.flatnonzero(side) for side in np.split(sides, [mask.shape[1]]))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]]) if len(rows) else None


def loosen_boxes(boxes: Tensor, shift: Tensor, size: tuple[float, float]) -> Tensor:
    """Move each side of XYXY boxes (Nx4) outward by ``shift`` (Nx4, pixels), within (H, W)."""
    outward = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    height, width = size
    limit = torch.tensor([width, height, width, height]) - 1
    return torch.minimum((boxes + outward * shift).clamp(min=0), limit)


def widened(box: Tensor, margin: float = MARGIN) -> Tensor:
    """Return a box (4,), XYXY, with a margin about it, a share of its sides."""
    return box + (box[2:] - box[:2]).repeat(2) * margin * torch.tensor([-1, -1, 1, 1])
