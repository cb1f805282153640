"""Into the square that a model sees, and out of it. Pure functions; a picture is HxW."""

from collections.abc import Sequence

import numpy as np
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
    inside = _resized(picture, image_size)
    height, width = inside.shape[-2:]
    return F.pad(inside, (0, image_size - width, 0, image_size - height))


def framed(picture: Tensor, image_size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return a picture (3xHxW, or grey 1xHxW, 0..255) as the network takes it: 3xSxS, normalized.

    What is resized is the picture as it is: of a grey one a single channel.
    """
    inside = _resized(picture.float(), image_size)
    height, width = inside.shape[-2:]
    frame = torch.empty(3, image_size, image_size)
    frame[:, height:], frame[:, :, width:] = 0, 0
    part = frame[:, :height, :width]
    torch.sub(inside, torch.tensor(mean).view(3, 1, 1), out=part)
    part.div_(torch.tensor(std).view(3, 1, 1))
    return frame


def _resized(picture: Tensor, image_size: int) -> Tensor:
    _, size = frame_scale(picture.shape[-2:], image_size)
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[
        0
    ]


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


def unless_ignored(label: Tensor, ignored: Tensor, image_size: int, mask_size: int) -> Tensor:
    """Return shares (Nx1xhxw) of what counts of each pixel; -1 where most of it is ``ignored``.

    Args:
        label: the shares that masks cover, see coverage.
        ignored: HxW, of the picture.
        image_size, mask_size: see coverage.
    """
    void = coverage(ignored[None], image_size, mask_size)
    return torch.where(void < 0.5, label / (1 - void), -1.0)


def _covered(mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ mask @ columns.T of a mask (HxW), at the price of its object alone."""
    down, across = (np.flatnonzero(mask.numpy().any(axis)) for axis in (1, 0))
    if not len(down):
        return torch.zeros(len(rows), len(columns))
    y, x = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
    rows, columns = rows[:, y], columns[:, x]
    covered = torch.zeros(len(rows), len(columns))
    i, j = _nonzero(rows), _nonzero(columns)
    covered[i, j] = rows[i] @ mask[y, x].float() @ columns[j].T
    return covered


def _nonzero(rows: Tensor) -> slice:
    """Return which rows are not 0; they lie together."""
    found = rows.any(1).nonzero()[:, 0]
    return slice(found[0], found[-1] + 1)


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


def mask_in_columns(logits: Tensor, size: Sequence[int], image_size: int) -> np.ndarray:
    """Return the mask (HxW, bool) of low-resolution logits (1xhxw), its columns contiguous.

    Run lengths go along the columns: laid out like this, none has to be gathered.
    """
    turned = from_frame(logits[None].transpose(2, 3).contiguous(), size[::-1], image_size)
    return (turned[0, 0] > 0).cpu().numpy().T
