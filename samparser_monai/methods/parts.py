"""What all methods share: freezing, the decoder's choice, and seeded starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

import torch

from samparser_monai.errors import InputError, unknown
from samparser_monai.methods.spaces import decoder_layers, tune_spectrum
from samparser_monai.spectrum import Step

Decoder = Literal["tuned", "coefficients", "frozen"]


class Sam(Protocol):
    """What a method needs of a network.

    Attributes:
        method: the name of the method that was applied, empty before.
        options: of that method: ``method(sam, **options)`` applies it again.
        split: where the frozen prefix ends, None where there is none.
    """

    image_encoder: Any
    mask_decoder: Any
    method: str
    options: dict[str, Any]
    split: Any

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze or release all parameters."""


def start(sam: Sam, method: str, decoder: Decoder, step: Step, **options: Any) -> None:
    """Freeze all of the network but what is to be tuned of the mask decoder.

    Args:
        sam: changed in place.
        method: the name of the one that is applied.
        decoder: ``tuned`` all of it, as in the paper; ``coefficients`` the singular values of its
            linear and convolution weights, 8 644 numbers; ``frozen`` none.
        step: how a coefficient moves, see SpectralWeight.
        **options: what else the method was given; its seed only if something drawn is not tuned.

    Raises:
        InputError: a choice is unknown, or a method was applied before.
    """
    for name, value, known in (("decoder", decoder, Decoder), ("step", step, Step)):
        if value not in get_args(known):
            raise unknown(name, value, get_args(known))
    if sam.method:
        raise InputError(
            f"method {sam.method!r} was applied to this network before: build a new one"
        )
    sam.method, sam.options = method, {"decoder": decoder, "step": step, **options}
    sam.requires_grad_(False)
    if decoder == "tuned":
        sam.mask_decoder.requires_grad_(True)
    elif decoder == "coefficients":
        tune_spectrum(decoder_layers(sam.mask_decoder), ("step",), step)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw what a method starts from by a seed of its own; the generator goes on as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
