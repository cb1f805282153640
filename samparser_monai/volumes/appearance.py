"""Which intensities an organ has and its surroundings have not: what a leaking mask ignores."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from samparser_monai.geometry.boxes import box_of

BINS = 64  # of the window, 0..255
SPREAD = 1.5  # of noise, in bins


class Appearance:
    """Evidence against what looks unlike an organ, from masks of it on one or several pictures.

    In CT an organ's tissue has much the same intensity on all its slices. A value's evidence is
    the logarithm of how often it occurs in the masks over how often about them, where that is
    negative: nothing is ever added to a mask. What it cuts off belongs to the surroundings the
    next time, so masks that leak still lead to the organ's own values where it has most of them.

    Args:
        pictures: hxw each, 0..255, of the masks' size.
        masks: hxw each, logits.
        weight: of the evidence against the logits.
        wide: how far the surroundings go beyond a mask's box, as a share of its sides.
        least: the evidence of no value is below this.
        rounds: how often what was cut off is counted with the surroundings.
    """

    def __init__(
        self,
        pictures: Sequence[Tensor],
        masks: Sequence[Tensor],
        weight: float = 1.5,
        wide: float = 0.3,
        least: float = -6.0,
        rounds: int = 2,
    ) -> None:
        self.weight, self.table = weight, torch.zeros(BINS, device=masks[0].device)
        near = [around(mask > 0, wide) for mask in masks]
        for _ in range(rounds + 1):
            inside, outside = torch.ones_like(self.table), torch.ones_like(self.table)
            for picture, mask, place in zip(pictures, masks, near, strict=True):
                organ = self.cut(picture, mask) > 0
                inside += histogram(picture[organ])
                outside += histogram(picture[place & ~organ])
            self.table = (inside / outside).log().clamp(least, 0)

    def cut(self, picture: Tensor, logits: Tensor) -> Tensor:
        """Return logits (hxw) less the evidence against each pixel of a picture (hxw, 0..255)."""
        bins = (picture * BINS / 256).long().clamp(0, BINS - 1)
        return logits + self.weight * self.table[bins]


def around(mask: Tensor, wide: float) -> Tensor:
    """Return the box of a mask (hxw, bool), widened by a share of its sides, as a mask."""
    found = torch.zeros_like(mask)
    box = box_of(mask)
    if box is not None:
        left, top, right, bottom = box.tolist()
        sides = []
        for low, high in ((top, bottom + 1), (left, right + 1)):
            more = round((high - low) * wide)
            sides.append(slice(max(0, low - more), high + more))
        found[tuple(sides)] = True
    return found


def histogram(values: Tensor) -> Tensor:
    """Return how often values of 0..255 occur, by bins, blurred by noise."""
    counts = torch.histc(values.float(), BINS, 0, 256)
    places = torch.arange(-4, 5, device=values.device)
    kernel = torch.exp(-((places / SPREAD) ** 2) / 2)
    return F.conv1d(counts[None], (kernel / kernel.sum())[None, None], padding=4)[0]
