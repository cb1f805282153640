"""Instances of pictures of any size, by boxes and by names."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import product, starmap
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.frames import frame_scale
from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.pictures.naming import prompts_by_name
from samparser_monai.pictures.tiles import Tile, TiledPicture, holding, windows
from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.sam.portions import decode_in_portions


class TiledInferer(Inferer):
    """Segment the instances that boxes or names ask for in pictures of any size.

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

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        network: SamNetwork,
        boxes: Sequence[np.ndarray],
        by_name: Sequence[Sequence[str]] | None = None,
        **_: Any,
    ) -> list[list[dict[str, Any]]]:
        """Return {rle, score} of each box of each picture; of what names found also its prompt.

        Args:
            inputs: Bx3xHxW, from 0 to 255.
            network: that segments.
            boxes: for each picture Nx4, XYXY in its pixels, corners included.
            by_name: for each picture categories: their instances are found by their names, and
                segmented by their boxes.
        """
        found = []
        for n, (picture, asked) in enumerate(zip(inputs, boxes, strict=True)):
            tiled = TiledPicture(picture.cpu(), network, self.backbone)
            masks = self.segment(tiled, torch.as_tensor(asked))
            if by_name is not None and by_name[n]:
                cuts = [windows(side, self.tile, self.overlap) for side in tiled.size]
                prompts = prompts_by_name(tiled, list(starmap(Tile, product(*cuts))), by_name[n])
                corners = torch.tensor([prompt["box"] for prompt in prompts]).reshape(-1, 4)
                named = self.segment(tiled, corners)
                masks += [{**m, "prompt": p} for m, p in zip(named, prompts, strict=True)]
            found.append(masks)
        return found

    def segment(self, tiled: TiledPicture, boxes: Tensor) -> list[dict[str, Any]]:
        """Return {rle, score} of each box (Nx4) of a picture."""
        asked: dict[Tile, list[int]] = defaultdict(list)
        cuts = [windows(side, self.tile, self.overlap) for side in tiled.size]
        for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            asked[Tile(holding(cuts[0], y0, y1), holding(cuts[1], x0, x1))].append(n)
        found: dict[int, dict[str, Any]] = {}
        for tile, numbers in tqdm(asked.items(), "tiles", leave=False, disable=len(asked) < 2):
            scale, _ = frame_scale(tile.size, self.backbone.image_size)
            inside = (boxes[numbers] - tile.corner) * scale
            embedding = tiled.embedding(tile)
            logits, scores = decode_in_portions(tiled.network, embedding, inside, self.at_once)
            for n, one, score in zip(numbers, logits.cpu(), scores.cpu(), strict=True):
                found[n] = {"rle": rle_of(tiled.placed(one, tile)), "score": float(score)}
        return [found[n] for n in range(len(boxes))]
