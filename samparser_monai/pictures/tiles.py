"""Where large pictures are cut: never through an instance."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from torch import Tensor

from samparser_monai.geometry.frames import framed, mask_in_columns
from samparser_monai.sam import Backbone, SamNetwork

MARGIN = 1.25
"""Length of a window that was made for an instance, in lengths of its box."""

Window = tuple[int, int]
"""First pixel along an axis, and the one behind the last."""


class Tile(NamedTuple):
    """A part of a picture."""

    rows: Window
    columns: Window

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def corner(self) -> Tensor:
        """What must be taken from XYXY boxes of the picture to get those of the tile."""
        return torch.tensor([self.columns[0], self.rows[0]] * 2)


def windows(side: int, tile: int, overlap: float) -> list[Window]:
    """Return where an axis of ``side`` pixels is cut into tiles that overlap."""
    tile = min(tile, side)
    step = max(int(tile * (1 - overlap)), 1)
    return [(int(s.start), int(s.stop)) for (s,) in dense_patch_slices((side,), (tile,), (step,))]


def holding(cuts: Sequence[Window], first: float, last: float) -> Window:
    """Return the window with the pixels from first to last nearest its middle.

    What fits into none gets a window of its own: of their length, or of 1.25 times its own.
    """
    whole = [w for w in cuts if w[0] <= first and last < w[1]]
    if whole:
        return min(whole, key=lambda w: abs(w[0] + w[1] - 1 - first - last))
    side = cuts[-1][1]
    length = min(max(cuts[0][1], int(MARGIN * (last - first)) + 2), side)
    low = min(max(int((first + last + 1 - length) / 2), 0), side - length)
    return low, low + length


class TiledPicture:
    """A picture as its tiles; of the last few the trunk's work is kept.

    Args:
        picture: 3xHxW, from 0 to 255, on the CPU.
        network: that sees the tiles.
        backbone: whose square each tile becomes.
    """

    def __init__(self, picture: Tensor, network: SamNetwork, backbone: Backbone) -> None:
        self.picture, self.network, self.backbone = picture, network, backbone
        self.size = (picture.shape[-2], picture.shape[-1])
        self.embedding = lru_cache(maxsize=8)(self._embedding)

    def _embedding(self, tile: Tile) -> Tensor:
        """Return the image embedding (CxHxW) of a tile."""
        pixels = self.picture[:, slice(*tile.rows), slice(*tile.columns)]
        image = framed(pixels, self.backbone.image_size, self.backbone.mean, self.backbone.std)
        device = next(self.network.parameters()).device
        return self.network.embed(self.network.features(image[None].to(device)))[0]

    def placed(self, logits: Tensor, tile: Tile) -> np.ndarray:
        """Return the mask (HxW, its columns contiguous) of logits (1xhxw) in a tile."""
        mask = np.zeros(self.size, dtype=bool, order="F")
        inside = mask_in_columns(logits, tile.size, self.backbone.image_size)
        mask[slice(*tile.rows), slice(*tile.columns)] = inside
        return mask
