"""The idea of the paper: a weight is bases and coefficients, W = U diag(p) Vh.

SAM-PARSER (https://arxiv.org/abs/2308.14604), Eq. 2-4: U and Vh, the bases, stay as SAM learned
them; p, the coefficients, are tuned, so that W' = U diag(p') Vh is the best linear combination of
SAM's own bases for a new scenario.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from samparser_monai.errors import unknown

Step = Literal["relative", "absolute", "log"]


class SpectralWeight(nn.Module):
    """The parametrization W -> (U, s, Vh) with W = U diag(p) Vh.

    What trains is the step s, zero at the start, so that W is SAM's own until it has been trained.
    Adam moves each number by about its learning rate, whatever the gradient. Coefficients range
    over two orders of magnitude, so an absolute step lets the small ones swing and leaves the
    large ones still; a relative one moves each by a like fraction.

    Args:
        step: ``relative`` p = p0 (1 + s), ``absolute`` p = p0 + s, ``log`` p = p0 exp(s).

    Attributes:
        start: p0, the coefficients as SAM learned them, (r,).
        diagonal: nothing but coefficients lies between the bases.
    """

    start: Tensor
    diagonal = True

    def __init__(self, step: Step = "relative") -> None:
        super().__init__()
        if step not in get_args(Step):
            raise unknown("step", step, get_args(Step))
        self.step = step
        self.register_buffer("start", torch.empty(0))

    def coefficients(self, s: Tensor) -> Tensor:
        """Return p for the step s, both of shape (r,)."""
        if self.step == "relative":
            return self.start * (1 + s)
        return self.start + s if self.step == "absolute" else self.start * s.exp()

    def mix(self, u: Tensor, s: Tensor) -> Tensor:
        """Return U diag(p), (out, r)."""
        return u * self.coefficients(s)

    def forward(self, u: Tensor, s: Tensor, vh: Tensor) -> Tensor:
        """Return the weight of shape (out, ...) from U (out, r), s (r,) and Vh (r, ...)."""
        return (self.mix(u, s) @ vh.flatten(1)).unflatten(1, vh.shape[1:])

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split a weight (out, ...), flattened to out x rest, in float64: no digit is lost."""
        u, p, vh = torch.linalg.svd(weight.detach().double().flatten(1), full_matrices=False)
        # A pair of vectors may change its sign together. Fixed signs make the bases the same on
        # every machine, so that what was projected on one can be combined on another.
        sign = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()
        u, vh = u * sign, vh * sign.T
        self.start = p.to(weight.dtype)
        vh = vh.unflatten(1, weight.shape[1:])
        return u.to(weight.dtype), torch.zeros_like(self.start), vh.to(weight.dtype)


class Parts(NamedTuple):
    """The parameters of a decomposed weight: bases u (out, r) and vh (r, ...), step (r,)."""

    u: nn.Parameter
    step: nn.Parameter
    vh: nn.Parameter


def decompose(
    layer: nn.Module,
    step: Step = "relative",
    kind: Callable[[Step], SpectralWeight] = SpectralWeight,
) -> Parts:
    """Split ``layer.weight`` in place and return its parts, all of them frozen.

    Args:
        layer: whose weight is split.
        step: how a coefficient moves, see SpectralWeight.
        kind: of the parametrization.

    Raises:
        ValueError: the weight is split already.
    """
    if parametrize.is_parametrized(layer, "weight"):
        raise ValueError(f"the weight of {layer} has been decomposed before")
    parametrize.register_parametrization(layer, "weight", kind(step))
    parts = spectral_parts(layer)
    for part in parts:
        part.requires_grad_(False)
    return parts


def _decomposed(layer: nn.Module) -> Any:
    """Return torch's list of a weight's parametrization, which has its parameters too."""
    return layer.get_submodule("parametrizations.weight")


def spectral_parts(layer: nn.Module) -> Parts:
    """Return the parameters of a decomposed layer."""
    weight = _decomposed(layer)
    return Parts(weight.original0, weight.original1, weight.original2)


def coefficients_of(layer: nn.Module) -> Tensor:
    """Return p, shape (r,), of a decomposed layer."""
    weight = _decomposed(layer)
    return weight[0].coefficients(weight.original1)


def coefficients_on(base: Tensor, weight: Tensor) -> tuple[Tensor, float]:
    """Return p, shape (r,), of a weight on the bases of another, and what they cannot give of it.

    The second is the norm of the weight less U diag(p) Vh, as a share of the weight's own.
    """
    u, _, vh = (part.double() for part in SpectralWeight().right_inverse(base))
    flat, vh = weight.double().flatten(1), vh.flatten(1)
    p = ((u.T @ flat) * vh).sum(1)
    return p, float((flat - (u * p) @ vh).norm() / flat.norm())


def project(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return Vh * x: what a decomposed convolution does before its coefficients come in."""
    vh = spectral_parts(conv).vh
    return F.conv2d(x, vh, stride=conv.stride, padding=conv.padding, dilation=conv.dilation)


def combine(conv: nn.Conv2d, z: Tensor) -> Tensor:
    """Return what is left of the convolution, U (p o z), for z = project(conv, x)."""
    parts = spectral_parts(conv)
    u = _decomposed(conv)[0].mix(parts.u, parts.step)
    return F.conv2d(z, u[:, :, None, None], bias=conv.bias)
