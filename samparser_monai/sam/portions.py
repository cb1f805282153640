"""Any number of prompts in bounded memory."""

import torch
from torch import Tensor

from samparser_monai.sam.network import SamNetwork


def decode_in_portions(
    network: SamNetwork,
    embedding: Tensor,
    boxes: Tensor,
    at_once: int,
    names: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the logits Nx1xhxw and the predicted IoU Nx1 of a picture's boxes (Nx4).

    Args:
        network: that decodes.
        embedding: CxHxW, of the picture.
        boxes: XYXY in pixels of the model's input.
        at_once: boxes to a pass of the decoder; it bounds the memory.
        names: N, see SamNetwork.decode.
    """
    portions = boxes.split(at_once)
    named = [None] * len(portions) if names is None else [[n] for n in names.split(at_once)]
    parts = [
        network.decode(embedding[None], [portion], names=by_name)
        for portion, by_name in zip(portions, named, strict=True)
    ]
    logits, ious = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(ious)
