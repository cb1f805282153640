"""SAM's mask decoder as fewer and smaller sums: the same numbers from the same parameters.

A few tokens and a picture of 4096 places look at each other. A token's query may pass the matrix of
the keys in the place of the picture, q.(Wx) = (q.W)x, and a mean of places that of the values: a
few rows times a matrix where SAM has thousands. Prompts without a mask prompt see the same picture
until the first layer has looked at them, so what that layer makes of the picture is made once for
all of them. Of the masks the first alone is made, pixel by pixel: a transposed convolution whose
stride is its size is a matrix product.
"""

from collections.abc import Sequence
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional as F

UPSCALED_AT_ONCE = {"cpu": 1}
"""By device, all of them elsewhere: larger tensors are new memory from the system each time."""


def masks_of(
    decoder: MaskDecoder, pictures: Tensor, which: Sequence[int], position: Tensor, sparse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits Tx1x4hx4w of T prompts, and the predicted IoU Tx1.

    Args:
        decoder: of SAM, with any parametrizations.
        pictures: UxCxhxw, embeddings with their dense prompts.
        which: of them each prompt is of, T places.
        position: 1xNxC, the positional encoding of N places, row by row.
        sparse: TxPxC, the sparse prompts.
    """
    height, width = pictures.shape[-2:]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    rows = pictures.flatten(2).mT.contiguous()
    tokens, keys = two_way(decoder.transformer, rows, which, position, tokens)
    iou = decoder.iou_prediction_head(tokens[:, 0])
    weights = torch.stack(  # of all masks, so that each of their layers has its gradient, 0
        [mlp(tokens[:, 1 + n]) for n, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    at_once = UPSCALED_AT_ONCE.get(keys.device.type, len(keys))
    logits = [
        _upscaled(decoder.output_upscaling, some, weight)
        for some, weight in zip(keys.split(at_once), weights[:, 0].split(at_once), strict=True)
    ]
    places = torch.cat(logits).view(len(tokens), height, width, 2, 2, 2, 2)
    logits_of = places.permute(0, 1, 3, 5, 2, 4, 6)
    return logits_of.reshape(len(tokens), 1, 4 * height, 4 * width), iou[:, :1]


def _upscaled(layers: Any, keys: Tensor, weights: Tensor) -> Tensor:
    """Return the logits Tx(hw)x2x2x2x2 of pictures Tx(hw)xC by the weights TxC/8 of their masks."""
    first, norm, activation, second, last = layers
    x = _by_quarters(first, keys)  # Tx(hw)x4xC/4
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last(_by_quarters(second, x))  # Tx(hw)x4x4xC/8
    return x.flatten(1, 3) @ weights[:, :, None]


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


def two_way(
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
        asked = tokens if layer.skip_first_layer_pe else tokens + prompts
        found = _among_tokens(layer.self_attn, asked, tokens)
        tokens = layer.norm1(found if layer.skip_first_layer_pe else tokens + found)
        placed, asked = pictures + position, tokens + prompts
        found = _of_pictures(layer.cross_attn_token_to_image, asked, placed, pictures, which)
        tokens = layer.norm2(tokens + found)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        back, asked = layer.cross_attn_image_to_token, tokens + prompts
        pictures = layer.norm4(_with_tokens(back, pictures, placed, asked, tokens, which))
        which = range(len(pictures))  # from now on each prompt has a picture of its own
    last, placed = transformer.final_attn_token_to_image, pictures + position
    found = _of_pictures(last, tokens + prompts, placed, pictures, which)
    return transformer.norm_final_attn(tokens + found), pictures


def _among_tokens(layer: Any, asked: Tensor, tokens: Tensor) -> Tensor:
    """Return what tokens TxPxC see of each other."""
    q, k, v = _heads(layer, layer.q_proj(asked), layer.k_proj(asked), layer.v_proj(tokens))
    return layer.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _of_pictures(
    layer: Any, asked: Tensor, placed: Tensor, pictures: Tensor, which: Sequence[int]
) -> Tensor:
    """Return what tokens TxPxC see of pictures UxNxC, which are ``placed`` with their position."""
    (q,) = _heads(layer, layer.q_proj(asked))
    share = _scores(q, layer.k_proj, placed, which).softmax(-1)  # TxHxPxN
    seen = (share.flatten(1, 2) @ _each(pictures, which)).unflatten(1, share.shape[1:3])
    matrix = layer.v_proj.weight.unflatten(0, (layer.num_heads, -1))  # Hxcx C
    found = (seen @ matrix.transpose(1, 2)).transpose(1, 2).flatten(2) + layer.v_proj.bias
    return layer.out_proj(found)


def _with_tokens(
    layer: Any,
    pictures: Tensor,
    placed: Tensor,
    asked: Tensor,
    tokens: Tensor,
    which: Sequence[int],
) -> Tensor:
    """Return pictures TxNxC, to which what they see of their prompts' tokens TxPxC is added."""
    k, v = _heads(layer, layer.k_proj(asked), layer.v_proj(tokens))
    share = _scores(k, layer.q_proj, placed, which).softmax(2)  # of the tokens, TxHxPxN
    matrix = layer.out_proj.weight.unflatten(1, (layer.num_heads, -1)).permute(1, 2, 0)
    told = v @ matrix + layer.out_proj.bias / layer.num_heads  # the shares of a head are 1 in all
    return torch.baddbmm(_each(pictures, which), share.flatten(1, 2).mT, told.flatten(1, 2))


def _scores(tokens: Tensor, projection: Any, pictures: Tensor, which: Sequence[int]) -> Tensor:
    """Return how tokens (TxHxPxc) and projected pictures (UxNxC) match, TxHxPxN.

    The pictures are projected where they are few, else the tokens the other way.
    """
    tokens = tokens / tokens.shape[-1] ** 0.5
    count, heads, places, _ = tokens.shape
    matrix = projection.weight.unflatten(0, (heads, -1))  # HxcxC
    if len(pictures) * projection.out_features < count * heads * places:
        projected = projection(pictures).unflatten(-1, (heads, -1)).transpose(1, 2)
        return tokens @ _each(projected, which).mT
    asked = (tokens @ matrix).flatten(1, 2)
    scores = (asked @ _each(pictures, which).mT).unflatten(1, (heads, places))
    return scores + tokens @ projection.bias.view(heads, -1, 1)


def _heads(layer: Any, *projected: Tensor) -> tuple[Tensor, ...]:
    """Return TxHxPxc for each TxPxC."""
    return tuple(t.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2) for t in projected)


def _each(pictures: Tensor, which: Sequence[int]) -> Tensor:
    """Return the picture of each prompt, Tx..., of pictures Ux...."""
    if list(which) == list(range(len(pictures))):
        return pictures
    if len(pictures) == 1:
        return pictures.expand(len(which), *pictures.shape[1:])
    return pictures[torch.tensor(which).to(pictures.device)]
