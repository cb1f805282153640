"""The attention layers of an image encoder, and where q, k and v lie in their weights."""

from typing import Any

import torch
from segment_anything.modeling.image_encoder import Attention as ViTAttention
from timm.models.tiny_vit import Attention as TinyViTAttention
from torch import Tensor, nn

from samparser_monai.errors import InputError


def attentions(encoder: nn.Module) -> list[Any]:
    """Return the attention layers of an encoder, in the order of its blocks.

    Raises:
        InputError: it has none that is known here.
    """
    found = [m for m in encoder.modules() if isinstance(m, (ViTAttention, TinyViTAttention))]
    if not found:
        raise InputError(
            f"{type(encoder).__name__} has no attention layer of SAM's ViT or of TinyViT, for "
            "which this method knows what each row of a weight gives: choose another method"
        )
    return found


def qkv_rows(attention: Any) -> Tensor:
    """Return the rows of ``qkv.weight`` (3C, C) that give q, k and v: indices of shape (3, C).

    SAM's ViT puts all of q first, then k, then v; TinyViT puts q, k and v of a head together.
    """
    weight = attention.qkv.weight
    rows = torch.arange(len(weight), device=weight.device)
    if isinstance(attention, TinyViTAttention):
        return rows.view(attention.num_heads, 3, -1).transpose(0, 1).flatten(1)
    return rows.view(3, -1)


def check_rank(rank: int, layers: list[Any]) -> None:
    """Raise InputError where a rank is not between 1 and the smallest width."""
    limit = min(layer.qkv.in_features for layer in layers)
    if not 1 <= rank <= limit:
        raise InputError(f"rank must be between 1 and {limit}, not {rank}")
