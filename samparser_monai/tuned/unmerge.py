"""From a merged checkpoint back to coefficients, given its base."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients
from samparser_monai.methods.parts import Decoder
from samparser_monai.methods.spaces import Space, decoder_layers, encoder_layers
from samparser_monai.sam import SamNetwork, architecture
from samparser_monai.sam.checkpoints import load_strictly
from samparser_monai.spectrum import coefficients_of, coefficients_on, spectral_parts

ROUNDING = 1e-6
"""A weight is rebuilt in float32: what its bases cannot give of it is a smaller share than this."""

Weights = dict[str, Tensor]


def unmerge(merged: str | Path, network: SamNetwork) -> SamNetwork:
    """Give a published network the coefficients that make of it a merged checkpoint.

    Where they are is read from what differs: in the neck, the blocks or both; of the decoder
    nothing, the coefficients of its layers, or more.

    Args:
        merged: the checkpoint.
        network: its base; changed in place, and returned with the method ``coefficients``.

    Raises:
        InputError: the encoder differs from its base by more than coefficients.
    """
    other = architecture(network.backbone)
    load_strictly(other, merged, network.backbone)
    before, after = network.state_dict(), other.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    in_decoder = {name for name in changed if name.startswith("mask_decoder.")}
    space = _space(network, changed - in_decoder, merged)
    found, outside = _coefficients(before, after, _names(network, _layers(network, space)))
    if outside:
        name = max(outside, key=lambda name: outside[name])
        raise InputError(
            f"{merged} is not its base with other coefficients: the bases of {name} cannot give "
            f"{outside[name]:.2g} of it; only what method 'coefficients' made can be unmerged"
        )
    names = _names(network, decoder_layers(network.mask_decoder))
    decoder: Decoder = "tuned" if in_decoder else "frozen"
    if in_decoder and in_decoder <= set(names):
        of_decoder, outside = _coefficients(before, after, names)
        if not outside:
            decoder, found = "coefficients", found | of_decoder
    coefficients(network, space=space, decoder=decoder)
    if decoder == "tuned":
        network.mask_decoder.load_state_dict(other.mask_decoder.state_dict())
    for name, p in found.items():
        _move(network.get_submodule(name.removesuffix(".weight")), p)
    return network


def _layers(network: SamNetwork, space: Space) -> list[nn.Module]:
    return encoder_layers(network.image_encoder, space)


def _names(network: SamNetwork, layers: Iterable[nn.Module]) -> list[str]:
    chosen = set(layers)
    return [f"{name}.weight" for name, module in network.named_modules() if module in chosen]


def _space(network: SamNetwork, changed: set[str], merged: str | Path) -> Space:
    for space in get_args(Space):
        strange = changed.difference(_names(network, _layers(network, space)))
        if not strange:
            return space
    raise InputError(
        f"{merged} is not its base with other coefficients: {min(strange)} differs too; only what "
        "method 'coefficients' made can be unmerged"
    )


def _coefficients(
    before: Weights, after: Weights, names: list[str]
) -> tuple[Weights, dict[str, float]]:
    """Return the coefficients of weights, and the share that is too large to be rounding."""
    found, outside = {}, {}
    for name in tqdm(names, "coefficients", unit="layer", leave=False):
        found[name], share = coefficients_on(before[name], after[name])
        if share > ROUNDING:
            outside[name] = share
    return found, outside


@torch.no_grad()
def _move(layer: nn.Module, p: Tensor) -> None:
    start = coefficients_of(layer).double()
    # a coefficient that is as good as zero has no direction that rounding leaves
    told = start > ROUNDING * start.max()
    spectral_parts(layer).step.copy_(torch.where(told, p / start - 1, 0))
