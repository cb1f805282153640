"""Into the square that a model sees, and out of it. Pure functions; a picture is HxW."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def frame_scale(size: Sequence[int], image_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Return the factors (4,) from XYXY boxes of a picture (H, W) to the square, and its size.

    As in SAM: the longest side becomes ``image_size``, the rest of the square is padding at the
    right and the bottom. The other side is rounded to a pixel, so its factor is a little different.
    """
    longest = image_size / max(size)
    height, width = (max(int(side * longest + 0.5), 1) for side in size)  # of a line, a row
    return torch.tensor([width / size[1], height / size[0]] * 2), (height, width)


def into_frame(picture: Tensor, image_size: int) -> Tensor:
    """Resize a picture (CxHxW) to the square and pad it with 0: CxSxS."""
    _, (height, width) = frame_scale(picture.shape[-2:], image_size)
    resized = F.interpolate(
        picture[None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0]
    return F.pad(resized, (0, image_size - width, 0, image_size - height))


def coverage(masks: Sequence[Tensor] | Tensor, image_size: int, mask_size: int) -> Tensor:
    """Return the share of each low-resolution pixel that masks cover: Nx(mask_size)x(mask_size).

    The low-resolution pixels tile the frame, not the picture's own low-resolution size: the
    rounding of that would shift a mask by up to half such a pixel against from_frame.

    Args:
        masks: NxHxW, of a picture.
        image_size: side of the model's square input.
        mask_size: side of its low-resolution masks.
    """
    if not len(masks):
        return torch.zeros(0, mask_size, mask_size)
    size = masks[0].shape
    _, inner = frame_scale(size, image_size)
    rows, columns = (
        _overlap(side, side / inside * image_size / mask_size, mask_size)
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


def from_frame(logits: Tensor, size: Sequence[int], image_size: int) -> Tensor:
    """Bring low-resolution logits (TxCxhxw) back to a picture's own size (H, W), as SAM does.

    Args:
        logits: over the whole square frame, at any resolution.
        size: of the picture.
        image_size: side of the model's square input.
    """
    _, (height, width) = frame_scale(size, image_size)
    full = F.interpolate(logits, (image_size, image_size), mode="bilinear", align_corners=False)
    inner = full[..., :height, :width]
    return F.interpolate(inner, tuple(size), mode="bilinear", align_corners=False)
