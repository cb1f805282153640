"""Box prompts and their frames: source pixels, model pixels, voxels, world. Pure functions.

A picture is HxW, rows first; a box is XYXY in pixels, x along the columns, corners included: the
box of one pixel at row 3, column 5 is (5, 3, 5, 3).
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F


def instances_of(label: np.ndarray, min_area: int) -> tuple[np.ndarray, np.ndarray]:
    """Split a label picture (HxW) into its connected components (8 neighbours) per value.

    Returns:
        The values (N,) and the masks (NxHxW, bool) of the components of at least ``min_area``
        pixels; a left and a right kidney are two.
    """
    values, masks = [], []
    for value in np.unique(label[label > 0]):
        parts, count = ndimage.label(label == value, structure=np.ones((3, 3)))
        areas = np.bincount(parts.ravel(), minlength=count + 1)
        for part in range(1, count + 1):
            if areas[part] >= min_area:
                values.append(value)
                masks.append(parts == part)
    return np.array(values, dtype=np.int64), np.array(masks, dtype=bool).reshape(-1, *label.shape)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the tight XYXY boxes (Nx4, float32) of non-empty masks (NxHxW)."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def loosen_boxes(boxes: Tensor, shift: Tensor, size: tuple[float, float]) -> Tensor:
    """Move each side of XYXY boxes (Nx4) outward by ``shift`` (Nx4, pixels), within (H, W)."""
    outward = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    height, width = size
    limit = torch.tensor([width, height, width, height]) - 1
    return torch.minimum((boxes + outward * shift).clamp(min=0), limit)


def frame_scale(size: Sequence[int], frame: int) -> tuple[Tensor, tuple[int, int]]:
    """Return the factors (4,) from XYXY boxes of a picture (H, W) to a square frame, and its size.

    As in SAM: the longest side becomes ``frame``, the rest of the square is padding at the right
    and the bottom. The other side is rounded to a pixel, so its factor is a little different.
    """
    longest = frame / max(size)
    height, width = (int(side * longest + 0.5) for side in size)
    return torch.tensor([width / size[1], height / size[0]] * 2), (height, width)


def into_frame(picture: Tensor, frame: int) -> Tensor:
    """Resize a picture (CxHxW) to the frame's longest side and pad with 0: Cx(frame)x(frame)."""
    _, (height, width) = frame_scale(picture.shape[-2:], frame)
    resized = F.interpolate(
        picture[None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return F.pad(resized, (0, frame - width, 0, frame - height))


def coverage(masks: Sequence[Tensor] | Tensor, frame: int, mask_size: int) -> Tensor:
    """Return the share of each low-resolution pixel that masks cover: Nx(mask_size)x(mask_size).

    The low-resolution pixels tile the frame, not the picture's own low-resolution size: the
    rounding of that would shift a mask by up to half such a pixel against from_frame.

    Args:
        masks: NxHxW, of a picture.
        frame: side of the model's square input.
        mask_size: side of its low-resolution masks.
    """
    if not len(masks):
        return torch.zeros(0, mask_size, mask_size)
    size = masks[0].shape
    _, inner = frame_scale(size, frame)
    rows, columns = (
        _overlap(side, side / inside * frame / mask_size, mask_size)
        for side, inside in zip(size, inner, strict=True)
    )
    # one at a time: the masks of a large picture as floats would fill the memory
    return torch.stack([_covered(mask, rows, columns) for mask in masks])


def _covered(mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ mask @ columns.T of a mask (HxW), at the price of its object alone."""
    down, across = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
    if not len(down):
        return torch.zeros(len(rows), len(columns))
    y, x = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
    return rows[:, y] @ mask[y, x].float() @ columns[:, x].T


def _overlap(side: int, step: float, count: int) -> Tensor:
    """Return the share of each of ``count`` intervals of length ``step`` in each of the pixels."""
    edges, pixels = torch.arange(count + 1) * step, torch.arange(side + 1.0)
    low = torch.maximum(edges[:-1, None], pixels[:-1])
    high = torch.minimum(edges[1:, None], pixels[1:])
    return (high - low).clamp(min=0) / step


def from_frame(logits: Tensor, size: Sequence[int], frame: int) -> Tensor:
    """Bring low-resolution logits (TxCxhxw) back to a picture's own size (H, W), as SAM does.

    Args:
        logits: over the whole square frame, at any resolution.
        size: of the picture.
        frame: side of the model's square input.
    """
    _, (height, width) = frame_scale(size, frame)
    full = F.interpolate(logits, (frame, frame), mode="bilinear", align_corners=False)
    inner = full[..., :height, :width]
    return F.interpolate(inner, tuple(size), mode="bilinear", align_corners=False)
