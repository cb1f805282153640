"""Prompted inference with a bounded number of instances at once."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from samparser_monai.errors import at_least
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.portions import decode_in_portions


class InstanceInferer(Inferer):
    """Return the logits Tx1xhxw of all boxes of a batch.

    Args:
        at_once: instances to a pass of the decoder.
    """

    def __init__(self, at_once: int = 32) -> None:
        at_least(1, at_once=at_once)
        self.at_once = at_once

    def __call__(
        self,
        inputs: Tensor,
        network: SamNetwork,
        boxes: list[Tensor],
        features: Tensor | None = None,
        names: list[Tensor] | None = None,
        **_: Any,
    ) -> Tensor:
        """Segment the instances of the pictures ``inputs`` (Bx3xHxW), or of their features."""
        embedding = network.embed(network.features(inputs) if features is None else features)
        named: Sequence[Tensor | None] = [None] * len(boxes) if names is None else names
        return torch.cat(
            [
                decode_in_portions(network, picture, asked, self.at_once, by_name)[0]
                for picture, asked, by_name in zip(embedding, boxes, named, strict=True)
            ]
        )
