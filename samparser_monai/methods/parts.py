"""What all methods share: freezing, the decoder's choice, counting, and rates to a kind."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

from torch import nn

from samparser_monai.errors import InputError, unknown
from samparser_monai.spectrum import SpectralWeight

Decoder = Literal["tuned", "frozen"]


def start(sam: nn.Module, decoder: Decoder) -> None:
    """Freeze all of the network but, where it is to be tuned, the mask decoder.

    Raises:
        InputError: the decoder's choice is unknown, or a method was applied before.
    """
    if decoder not in get_args(Decoder):
        raise unknown("decoder", decoder, get_args(Decoder))
    if sam.split is not None:
        raise InputError("a method was applied to this network before: build a new one")
    sam.requires_grad_(False)
    sam.mask_decoder.requires_grad_(decoder == "tuned")


def steps(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the steps of all coefficients of the network, tuned or not."""
    for module in network.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleDict) and "weight" in child:
                weight = child["weight"]
                if isinstance(weight[0], SpectralWeight):
                    yield weight.original1


def parameter_groups(
    network: nn.Module, coefficient_rate: float, decoder_rate: float
) -> list[dict[str, Any]]:
    """Return an optimizer's groups: the coefficients have a learning rate of their own.

    A coefficient is of size 1 to 80 and its step is relative; at a decoder's rate, under 1e-4, it
    would not move. Weights other than coefficients go by ``decoder_rate``.

    Raises:
        InputError: nothing in the network is to be trained, or a rate is not above zero.
    """
    for name, rate in (("coefficient_rate", coefficient_rate), ("decoder_rate", decoder_rate)):
        if not rate > 0:
            raise InputError(f"{name} must be above 0, not {rate}")
    chosen = {id(step) for step in steps(network)}
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) in chosen], "lr": coefficient_rate},
        {"params": [p for p in trained if id(p) not in chosen], "lr": decoder_rate},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError("nothing is left to train: choose decoder='tuned' or another method")
    return groups


def count_trainable(network: nn.Module) -> dict[str, int]:
    """Count the trainable parameters of the encoder and of the rest."""
    encoder = sum(p.numel() for p in network.image_encoder.parameters() if p.requires_grad)
    both = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {"encoder": encoder, "decoder": both - encoder}
