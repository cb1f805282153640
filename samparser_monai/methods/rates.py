"""Which of what is tuned goes by which learning rate."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from samparser_monai.errors import InputError
from samparser_monai.spectrum import SpectralWeight


def steps(network: nn.Module) -> Iterator[Any]:
    """Yield the steps of all coefficients, the encoder's and the decoder's, tuned or not."""
    for module in network.modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], SpectralWeight):
            yield module.original1


def parameter_groups(
    network: Any,
    coefficient_rate: float,
    decoder_rate: float,
    encoder_rate: float | None = None,
    decoder_coefficient_rate: float | None = None,
    name_rate: float = 3e-3,
    name_decoder_rate: float = 1e-4,
) -> list[dict[str, Any]]:
    """Return an optimizer's groups: the coefficients have learning rates of their own.

    A coefficient is of size 1 to 80 and its step is relative; at a decoder's rate, under 1e-4, it
    would not move. Coefficients have no weight decay, which would draw them to SAM as published.

    Args:
        network: after its method has been applied.
        coefficient_rate: of the encoder's coefficients.
        decoder_rate: of the decoder where all of it is tuned.
        encoder_rate: of what else a method tunes of the encoder (bases, updates, adapters); the
            decoder's where none is given.
        decoder_coefficient_rate: of the decoder's coefficients; the encoder's where none is given.
        name_rate: of the tokens by which organs are asked for by name.
        name_decoder_rate: of the names' own decoder.

    Raises:
        InputError: nothing in the network is to be trained, or a rate is not above zero.
    """
    rates = {
        "coefficient_rate": coefficient_rate,
        "decoder_coefficient_rate": coefficient_rate
        if decoder_coefficient_rate is None
        else decoder_coefficient_rate,
        "decoder_rate": decoder_rate,
        "encoder_rate": decoder_rate if encoder_rate is None else encoder_rate,
        "name_rate": name_rate,
        "name_decoder_rate": name_decoder_rate,
    }
    for name, rate in rates.items():
        if not rate > 0:
            raise InputError(f"{name} must be above 0, not {rate}")
    chosen = {id(step) for step in steps(network)}
    in_encoder = {id(p) for p in network.image_encoder.parameters()}
    groups: dict[str, dict[str, Any]] = {
        name: {"params": [], "lr": rate, **({"weight_decay": 0.0} if name in UNDECAYED else {})}
        for name, rate in rates.items()
    }
    for name, p in network.named_parameters():
        if p.requires_grad and name.startswith("named_prompts.decoder."):
            groups["name_decoder_rate"]["params"].append(p)
        elif p.requires_grad and name.startswith("named_prompts."):
            groups["name_rate"]["params"].append(p)
        elif p.requires_grad:
            names = ENCODER if id(p) in in_encoder else DECODER
            groups[names[id(p) in chosen]]["params"].append(p)
    found = [group for group in groups.values() if group["params"]]
    if not found:
        raise InputError(
            f"method {network.method!r} leaves nothing to train: run `evaluating`, "
            "or choose decoder='tuned' or another method"
        )
    return found


ENCODER = ("encoder_rate", "coefficient_rate")  # of other numbers, of coefficients
UNDECAYED = ("coefficient_rate", "decoder_coefficient_rate", "name_rate")
DECODER = ("decoder_rate", "decoder_coefficient_rate")
