"""Which of what is tuned goes by which learning rate."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from samparser_monai.errors import InputError
from samparser_monai.spectrum import SpectralWeight


def steps(network: nn.Module) -> Iterator[Any]:
    """Yield the steps (r,) of all coefficients, the encoder's and the decoder's, tuned or not."""
    for module in network.modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], SpectralWeight):
            yield module.original1


def parameter_groups(
    network: Any, coefficient_rate: float, decoder_rate: float, encoder_rate: float | None = None
) -> list[dict[str, Any]]:
    """Return an optimizer's groups: the coefficients have a learning rate of their own.

    A coefficient is of size 1 to 80 and its step is relative; at a decoder's rate, under 1e-4, it
    would not move. The coefficients of encoder and decoder go by ``coefficient_rate``, and without
    weight decay; what else a method tunes of the encoder (bases, updates, adapters) by
    ``encoder_rate``, the decoder's where none is given.

    Raises:
        InputError: nothing in the network is to be trained, or a rate is not above zero.
    """
    rates = {"coefficient_rate": coefficient_rate, "decoder_rate": decoder_rate}
    rates["encoder_rate"] = decoder_rate if encoder_rate is None else encoder_rate
    for name, rate in rates.items():
        if not rate > 0:
            raise InputError(f"{name} must be above 0, not {rate}")
    chosen = {id(step) for step in steps(network)}
    in_encoder = {id(p) for p in network.image_encoder.parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    coefficients = [p for p in trained if id(p) in chosen]
    rest = [p for p in trained if id(p) not in chosen]
    groups: list[dict[str, Any]] = [
        # a decay would draw the steps to zero: to SAM as published
        {"params": coefficients, "lr": coefficient_rate, "weight_decay": 0.0},
        {"params": [p for p in rest if id(p) in in_encoder], "lr": rates["encoder_rate"]},
        {"params": [p for p in rest if id(p) not in in_encoder], "lr": decoder_rate},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError(
            f"method {network.method!r} leaves nothing to train: run `evaluating`, "
            "or choose decoder='tuned' or another method"
        )
    return groups
