"""What a rule reads off the masks of a session, and the picture under them."""

from dataclasses import replace

import torch
from torch import Tensor

from samparser_monai.geometry.frames import into_frame
from samparser_monai.volumes.session import Mask, VolumeSession


def picture(session: VolumeSession, k: int, mask: Mask) -> Tensor:
    """Return slice ``k`` of a volume in the low resolution of a mask, hxw, 0..255."""
    return into_frame(session.picture(k)[None].float(), len(mask.logits))[0]


def box_of(session: VolumeSession, mask: Mask) -> Tensor | None:
    """Return the box of a mask, XYXY (4,) in pixels of the model's input; None if it is empty."""
    inside = mask.logits > 0
    if not inside.any():
        return None
    rows, columns = (torch.nonzero(inside.any(1 - axis))[:, 0] for axis in (0, 1))
    low = torch.stack([columns[0], rows[0]])
    high = torch.stack([columns[-1], rows[-1]]) + 1
    step = session.backbone.image_size / len(inside)
    return torch.cat([low * step, high * step - 1])


def stability(logits: Tensor) -> float:
    """Return the IoU of the masks at logits over 1 and over -1."""
    return float((logits > 1).sum() / (logits > -1).sum().clamp(min=1))


def met(one: Mask, other: Mask, slices: range, k: int) -> Mask:
    """Average two chains that meet on slice ``k``; the one of ``slices`` weighs by its nearness."""
    weight = (len(slices) - slices.index(k)) / (len(slices) + 1)
    logits = (1 - weight) * one.logits + weight * other.logits
    return replace(one, logits=logits, iou=(1 - weight) * one.iou + weight * other.iou)
