"""SAM's mask decoder as fewer and smaller sums: the same numbers from the same parameters.

Prompts without a mask prompt see the same picture until the first layer has looked at them, so what
that layer makes of the picture is made once for all of them. Of the masks the first alone is made,
pixel by pixel: a transposed convolution whose stride is its size is a matrix product.
"""

from collections.abc import Sequence
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional as F


def masks_of(
    decoder: MaskDecoder, pictures: Tensor, which: Sequence[int], position: Tensor, sparse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits Tx1x4hx4w of T prompts, and the predicted IoU Tx1.

    Args:
        decoder: of SAM, with any parametrizations.
        pictures: UxCxhxw, embeddings with their dense prompts.
        which: of them each prompt is of, T places.
        position: 1xCxhxw, the positional encoding.
        sparse: TxPxC, the sparse prompts.
    """
    height, width = pictures.shape[-2:]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    rows, position = (t.flatten(2).transpose(1, 2).contiguous() for t in (pictures, position))
    tokens, keys = _two_way(decoder.transformer, rows, which, position, tokens)
    iou = decoder.iou_prediction_head(tokens[:, 0])
    weights = torch.stack(  # of all masks, so that each of their layers has its gradient, 0
        [mlp(tokens[:, 1 + n]) for n, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    first, norm, activation, second, last = decoder.output_upscaling
    x = _by_quarters(first, keys)  # Tx(hw)x4xC/4
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last(_by_quarters(second, x))  # Tx(hw)x4x4xC/8
    logits = (x.flatten(1, 3) @ weights[:, 0, :, None])[..., 0]
    logits = logits.view(len(tokens), height, width, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return logits.reshape(len(tokens), 1, 4 * height, 4 * width), iou[:, :1]


def _by_quarters(layer: Any, x: Tensor) -> Tensor:
    """Return ...x4xC' for ...xC: the 2x2 pixels that a transposed convolution makes of each."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(x, weight, layer.bias.repeat(4)).unflatten(-1, (4, -1))


def dense_of(encoder: PromptEncoder, masks: Tensor) -> Tensor:
    """Return the dense prompts NxCxhxw of mask prompts, Nx1x4hx4w."""
    first, norm, activation, second, other_norm, last_activation, last = encoder.mask_downscaling
    x = activation(norm(_of_quarters(first, masks)))
    x = last_activation(other_norm(_of_quarters(second, x))).permute(0, 2, 3, 1)
    return F.linear(x, last.weight.flatten(1), last.bias).permute(0, 3, 1, 2)


def _of_quarters(layer: Any, x: Tensor) -> Tensor:
    """Return what a convolution whose stride is its size, 2, makes of NxCxhxw."""
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    return F.linear(x, layer.weight.flatten(1), layer.bias).permute(0, 3, 1, 2)


def _two_way(
    transformer: Any, pictures: Tensor, which: Sequence[int], position: Tensor, prompts: Tensor
) -> tuple[Tensor, Tensor]:
    """Return tokens TxPxC and pictures TxNxC after SAM's TwoWayTransformer.

    Args:
        transformer: whose layers are used.
        pictures: UxNxC.
        which: of them each of T prompts is of.
        position: 1xNxC, of the pictures' rows.
        prompts: TxPxC, tokens that are their own positional encoding.
    """
    tokens = prompts
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = _attention(layer.self_attn, tokens, tokens, tokens)
        else:
            asked = tokens + prompts
            tokens = tokens + _attention(layer.self_attn, asked, asked, tokens)
        tokens = layer.norm1(tokens)
        placed = pictures + position
        across = layer.cross_attn_token_to_image
        found = _attention(across, tokens + prompts, placed, pictures, kv_of=which)
        tokens = layer.norm2(tokens + found)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        back = layer.cross_attn_image_to_token
        found = _attention(back, placed, tokens + prompts, tokens, q_of=which)
        pictures = layer.norm4(_each(pictures, which) + found)
        which = range(len(pictures))  # from now on each prompt has a picture of its own
    last = transformer.final_attn_token_to_image
    found = _attention(last, tokens + prompts, pictures + position, pictures)
    return transformer.norm_final_attn(tokens + found), pictures


def _attention(
    layer: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_of: Sequence[int] | None = None,
    kv_of: Sequence[int] | None = None,
) -> Tensor:
    """Return what SAM's attention makes of TxNxC; of pictures, UxNxC, with ``which`` they are."""
    projected = ((layer.q_proj(q), q_of), (layer.k_proj(k), kv_of), (layer.v_proj(v), kv_of))
    heads = (
        _each(t, of).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for t, of in projected
    )
    return layer.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def _each(pictures: Tensor, which: Sequence[int] | None) -> Tensor:
    """Return the picture of each prompt, TxNxC."""
    if which is None or list(which) == list(range(len(pictures))):
        return pictures
    if len(pictures) == 1:
        return pictures.expand(len(which), -1, -1)
    return pictures[torch.tensor(which).to(pictures.device)]
