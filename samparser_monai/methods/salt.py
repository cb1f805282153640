"""SALT (https://arxiv.org/abs/2503.16055): the largest coefficients, and all of the small ones."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samparser_monai.errors import InputError
from samparser_monai.methods.parts import Decoder, Sam, seeded, start
from samparser_monai.methods.prefixes import PROJECTION, before_attention
from samparser_monai.methods.s_sam import ScaleShift
from samparser_monai.methods.spaces import Space, encoder_layers, largest_rank, tune_spectrum
from samparser_monai.spectrum import Step


class Salt(ScaleShift):
    """The parametrization W -> (U, s, Vh): scale and shift above, a low-rank update below.

    W = U M Vh, with M = diag(relu(a p + b)) for the largest coefficients and diag(p) + X Y for the
    rest; Y is zero at the start.

    Args:
        step: how a scale moves, see SpectralWeight.
        rest: how many of the smallest coefficients have the update.
        rank: of X (rest, rank) and Y (rank, rest).
    """

    diagonal = False

    def __init__(self, step: Step, rest: int, rank: int) -> None:
        super().__init__(step)
        bound = 1 / math.sqrt(rest)  # as a linear layer of that many inputs starts
        self.x = nn.Parameter(torch.empty(rest, rank).uniform_(-bound, bound))
        self.y = nn.Parameter(torch.zeros(rank, rest))

    def mix(self, u: Tensor, s: Tensor) -> Tensor:
        """Return U M, (out, r), for s (2, r - rest)."""
        rest, top = len(self.x), s.shape[1]
        below = u[:, top:] @ self.x @ self.y
        return super().mix(u, F.pad(s, (0, rest))) + F.pad(below, (top, 0))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split a weight (out, ...): U, Vh, and no step of scale and shift."""
        u, s, vh = super().right_inverse(weight)
        self.to(weight.device)
        return u, s[:, len(self.x) :].contiguous(), vh


def salt(
    sam: Sam,
    rank: int = 4,
    rest: int = 8,
    space: Space = "both",
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Scale and shift all coefficients but the smallest: 77 152 numbers for ViT-B.

    Between the bases of the smallest ones a low-rank update is added. The authors' code clips that
    too at zero, entry by entry, and begins with noise in it.

    Args:
        sam: changed in place, and returned.
        rank: of an update.
        rest: how many of the smallest coefficients of each weight have one.
        space: which weights, see encoder_layers.
        decoder: what of it is tuned, see start.
        step: how a scale moves, see SpectralWeight.
        seed: of the updates.
    """
    layers = encoder_layers(sam.image_encoder, space)
    limit = largest_rank(layers) - 1
    for name, value, most in (("rest", rest, limit), ("rank", rank, rest)):
        if not 1 <= value <= most:
            raise InputError(f"{name} must be between 1 and {most}, not {value}")
    start(sam, "salt", decoder, step, rank=rank, rest=rest, space=space)
    with seeded(seed):
        tune_spectrum(layers, ("step",), step, partial(Salt, rest=rest, rank=rank))
    sam.split = PROJECTION if space == "neck" else before_attention(sam.image_encoder)
    return sam
