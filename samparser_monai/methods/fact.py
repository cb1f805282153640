"""FacT (https://arxiv.org/abs/2212.03145), its tensor-train form: all blocks share two factors."""

import math

from torch import Tensor, nn
from torch.nn.utils import parametrize

from samparser_monai.methods.attention import attentions, check_rank, qkv_rows
from samparser_monai.methods.parts import Decoder, Sam, seeded, start
from samparser_monai.methods.prefixes import before_attention
from samparser_monai.spectrum import Step


class Factors(nn.Module):
    """U and V, (C, r) each; V is zero at the start.

    A module, not a pair of parameters: one that is registered in many places is moved, copied and
    counted once, and so stays shared.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        width = weight.shape[1]
        bound = 1 / math.sqrt(width)  # as a linear layer of that many inputs starts
        self.u = nn.Parameter(weight.new_empty(width, rank).uniform_(-bound, bound))
        self.v = nn.Parameter(weight.new_zeros(width, rank))


class TensorTrain(nn.Module):
    """The parametrization W -> W + scale V S U^T of q, k and v, each with a core S of its own.

    Args:
        factors: shared with other blocks.
        rows: the indices of the rows of q, k and v, (3, C).
        scale: of the update.
    """

    rows: Tensor

    def __init__(self, factors: Factors, rows: Tensor, scale: float) -> None:
        super().__init__()
        self.factors, self.scale = factors, scale
        rank = factors.u.shape[1]
        bound = 1 / math.sqrt(rank)
        self.cores = nn.Parameter(
            factors.u.new_empty(len(rows), rank, rank).uniform_(-bound, bound)
        )
        self.register_buffer("rows", rows.flatten(), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight (3C, C)."""
        update = self.factors.v @ self.cores @ self.factors.u.T
        return weight.index_add(0, self.rows, self.scale * update.flatten(0, 1))


def fact(
    sam: Sam,
    rank: int = 8,
    scale: float = 1.0,
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Add updates V S U^T to the weights of q, k and v: 14 592 numbers for ViT-B at rank 8.

    U and V are shared by all blocks of one width: by all of a ViT, by those of a stage in TinyViT.

    Args:
        sam: changed in place, and returned.
        rank: of U and V.
        scale: of the updates.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
        seed: of U and of the cores.
    """
    layers = attentions(sam.image_encoder)
    check_rank(rank, layers)
    start(sam, "fact", decoder, step, rank=rank, scale=scale)
    sam.split = before_attention(sam.image_encoder)
    shared: dict[int, Factors] = {}
    with seeded(seed):
        for layer in layers:
            width = layer.qkv.in_features
            if width not in shared:
                shared[width] = Factors(layer.qkv.weight, rank)
            update = TensorTrain(shared[width], qkv_rows(layer), scale)
            parametrize.register_parametrization(layer.qkv, "weight", update)
    return sam
