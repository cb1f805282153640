"""Parameter spaces: which weights are split into bases and coefficients."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from torch import nn

from samparser_monai.errors import unknown
from samparser_monai.spectrum import SpectralWeight, Step, decompose

Space = Literal["neck", "transformer", "both"]
Part = Literal["u", "step", "vh"]


def encoder_layers(encoder: Any, space: Space) -> list[nn.Module]:
    """Return the layers of a parameter space of the image encoder.

    Args:
        encoder: whose trunk has its linear layers in transformer blocks alone.
        space: ``neck`` its two convolutions (the paper's convolutional layers), ``transformer``
            every linear layer of the blocks, ``both``.

    Raises:
        InputError: the space is unknown.
    """
    if space not in get_args(Space):
        raise unknown("space", space, get_args(Space))
    neck: list[nn.Module] = [m for m in encoder.neck if isinstance(m, nn.Conv2d)]
    transformer: list[nn.Module] = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    return {"neck": neck, "transformer": transformer, "both": transformer + neck}[space]


def largest_rank(layers: Iterable[Any]) -> int:
    """Return how many coefficients each of the layers has at least."""
    return min(min(layer.weight.flatten(1).shape) for layer in layers)


def decoder_layers(decoder: nn.Module) -> list[nn.Module]:
    """Return the linear and convolution layers of the mask decoder; embeddings are no maps."""
    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    return [layer for layer in decoder.modules() if isinstance(layer, kinds)]


def tune_spectrum(
    layers: Iterable[nn.Module],
    parts: Iterable[Part],
    step: Step,
    kind: Callable[[Step], SpectralWeight] = SpectralWeight,
) -> None:
    """Split the weight of each layer; the parts named are tuned, the others frozen."""
    for layer in layers:
        split = decompose(layer, step, kind)
        for part in parts:
            getattr(split, part).requires_grad_(True)
