"""Instances of pictures of any size: large ones are cut, but never through an instance."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.frames import frame_scale, framed, mask_in_columns
from samparser_monai.geometry.run_lengths import Rle, rle_of
from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.sam.portions import decode_in_portions

log = logging.getLogger(__name__)
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


class TiledBoxInferer(Inferer):
    """Segment the instances that boxes ask for in pictures of any size.

    A picture whose longest side is over ``tile`` is cut. An instance is segmented in the tile that
    has its box, or, where the box fits into none, in one of its own, see holding: parts of an
    object from several tiles would not agree about what belongs to it.

    Args:
        backbone: whose square each tile becomes.
        tile: side of a tile, in pixels of the picture.
        overlap: share of a tile that it has in common with the next: boxes of that size fit.
        at_once: boxes to a pass of the decoder.
    """

    def __init__(
        self, backbone: Backbone, tile: int = 2048, overlap: float = 0.25, at_once: int = 32
    ) -> None:
        at_least(1, tile=tile, at_once=at_once)
        if not 0 <= overlap < 1:
            raise InputError(f"overlap={overlap} must be a share of a tile, from 0 to below 1")
        self.backbone, self.tile, self.overlap, self.at_once = backbone, tile, overlap, at_once

    def __call__(
        self, inputs: Tensor, network: SamNetwork, boxes: Sequence[np.ndarray], **_: Any
    ) -> list[list[dict[str, Any]]]:
        """Return {rle, score} of each box of each picture.

        Args:
            inputs: Bx3xHxW, from 0 to 255.
            network: that segments.
            boxes: for each picture Nx4, XYXY in its pixels, corners included.
        """
        return [
            self.segment(picture, torch.as_tensor(asked), network)
            for picture, asked in zip(inputs, boxes, strict=True)
        ]

    def segment(self, picture: Tensor, boxes: Tensor, network: SamNetwork) -> list[dict[str, Any]]:
        """Return {rle, score} of each box (Nx4) of a picture 3xHxW."""
        size = (picture.shape[-2], picture.shape[-1])
        asked: dict[Tile, list[int]] = defaultdict(list)
        cuts = [windows(side, self.tile, self.overlap) for side in size]
        for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            asked[Tile(holding(cuts[0], y0, y1), holding(cuts[1], x0, x1))].append(n)
        found: dict[int, dict[str, Any]] = {}
        for tile, numbers in tqdm(asked.items(), "tiles", leave=False, disable=len(asked) < 2):
            logits, scores = self._segment_tile(picture, tile, boxes[numbers], network)
            for n, one, score in zip(numbers, logits, scores, strict=True):
                found[n] = {"rle": self._placed(one, tile, size), "score": float(score)}
        return [found[n] for n in range(len(boxes))]

    def _segment_tile(
        self, picture: Tensor, tile: Tile, boxes: Tensor, network: SamNetwork
    ) -> tuple[Tensor, Tensor]:
        """Return the low-resolution logits and predicted IoU of the boxes in a tile."""
        pixels = picture[:, slice(*tile.rows), slice(*tile.columns)].cpu()
        inside = boxes - tile.corner
        side, mean, std = self.backbone.image_size, self.backbone.mean, self.backbone.std
        image = framed(pixels, side, mean, std)
        scale, _ = frame_scale(tile.size, self.backbone.image_size)
        device = next(network.parameters()).device
        embedding = network.embed(network.features(image[None].to(device)))[0]
        logits, ious = decode_in_portions(network, embedding, inside * scale, self.at_once)
        return logits.cpu(), ious.cpu()

    def _placed(self, logits: Tensor, tile: Tile, size: tuple[int, int]) -> Rle:
        """Return the mask of logits (1xhxw) in a tile as the picture's."""
        mask = np.zeros(size, dtype=bool, order="F")
        inside = mask_in_columns(logits, tile.size, self.backbone.image_size)
        mask[slice(*tile.rows), slice(*tile.columns)] = inside
        return rle_of(mask)
