"""LoRA (https://arxiv.org/abs/2106.09685): low-rank updates of q and v in every attention layer."""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from samparser_monai.methods.attention import attentions, check_rank, qkv_rows
from samparser_monai.methods.parts import Decoder, Sam, seeded, start
from samparser_monai.methods.prefixes import before_attention
from samparser_monai.spectrum import Step


class LowRank(nn.Module):
    """The parametrization W -> W + scale B A of n blocks of rows; B is zero at the start.

    Args:
        weight: (out, in).
        rows: the indices of each block's rows, (n, c).
        rank: r of A (n, r, in) and B (n, c, r).
        scale: of the update.
    """

    rows: Tensor

    def __init__(self, weight: Tensor, rows: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(weight.new_empty(len(rows), rank, weight.shape[1]))
        self.b = nn.Parameter(weight.new_zeros(*rows.shape, rank))
        self.register_buffer("rows", rows.flatten(), persistent=False)
        bound = 1 / math.sqrt(weight.shape[1])  # as a linear layer of that many inputs starts
        nn.init.uniform_(self.a, -bound, bound)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight (out, in)."""
        return weight.index_add(0, self.rows, self.scale * (self.b @ self.a).flatten(0, 1))


def lora(
    sam: Sam,
    rank: int = 4,
    alpha: float | None = None,
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Add a low-rank update to the weights of q and of v: 147 456 numbers for ViT-B at rank 4.

    That is the 144 K of Table 4; its total should read 4107.2 K where it prints 4080.2.

    Args:
        sam: changed in place, and returned.
        rank: of an update.
        alpha: the update is scaled by alpha / rank; the rank itself where it is None.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
        seed: of the factors A.
    """
    layers = attentions(sam.image_encoder)
    check_rank(rank, layers)
    start(sam, "lora", decoder, step, rank=rank, alpha=alpha)
    sam.split = before_attention(sam.image_encoder)
    add_lora(layers, rank, alpha, seed)
    return sam


def add_lora(layers: list[Any], rank: int, alpha: float | None, seed: int) -> None:
    """Put the updates on attention layers."""
    scale = 1.0 if alpha is None else alpha / rank
    with seeded(seed):
        for layer in layers:
            q_and_v = qkv_rows(layer)[[0, 2]]
            update = LowRank(layer.qkv.weight, q_and_v, rank, scale)
            parametrize.register_parametrization(layer.qkv, "weight", update)
