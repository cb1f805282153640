"""Instances that nobody has drawn a box about: their category is asked for by its name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from samparser_monai.geometry.frames import frame_scale
from samparser_monai.geometry.run_lengths import boxes_of_rles, components
from samparser_monai.pictures.tiles import Tile, TiledPicture

LEAST_AREA = 12
"""Of an instance, in low-resolution pixels."""


def prompts_by_name(
    picture: TiledPicture, tiles: Sequence[Tile], categories: Sequence[str]
) -> list[dict[str, Any]]:
    """Return prompts {label, box, by}: what a picture shows of some categories.

    Each tile is asked for all of them in one pass; an instance is a connected piece of what they
    found together, so two that touch are one.

    Args:
        picture: that is asked.
        tiles: that cover it.
        categories: that the network knows by name.
    """
    known, side = picture.network.named_prompts, picture.backbone.image_size
    assert known is not None, "names are asked of a network without them"
    names = torch.tensor([known.organs.index(name) for name in categories])
    found = [np.zeros(picture.size, dtype=bool, order="F") for _ in categories]
    for tile in tiles:
        _, (height, width) = frame_scale(tile.size, side)
        frame = torch.tensor([[0.0, 0.0, width, height]]).repeat(len(names), 1)
        embedding = picture.embedding(tile)[None]
        logits, _ = picture.network.decode(embedding, [frame], names=[names])
        for mask, one in zip(found, logits.cpu(), strict=True):
            mask |= picture.placed(one, tile)
        least = LEAST_AREA * (max(tile.size) / logits.shape[-1]) ** 2
    return [
        {"label": label, "box": box, "by": "name"}
        for label, mask in zip(categories, found, strict=True)
        if (parts := components(mask, max(int(least), 1)))
        for box in boxes_of_rles(parts).tolist()
    ]
