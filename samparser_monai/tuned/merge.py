"""Tuned weights in a plain checkpoint that every tool for SAM loads."""

import logging
import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from samparser_monai.errors import InputError
from samparser_monai.files import replacing
from samparser_monai.sam import SamNetwork, architecture
from samparser_monai.sam.checkpoints import published
from samparser_monai.sam.tiny_vit import own_name
from samparser_monai.sam.weights_file import read_weights

NAMES = "named_prompts."
log = logging.getLogger(__name__)


def added_names(network: SamNetwork) -> list[str]:
    """Return the names of tensors that a method has put where plain SAM has none."""
    with torch.device("meta"):
        plain = architecture(network.backbone).state_dict().keys()
    own = (re.sub(r"\.parametrizations\.(\w+)\..*", r".\1", name) for name in network.state_dict())
    return sorted(name for name in set(own) - plain if not name.startswith(NAMES))


def merge(network: SamNetwork) -> SamNetwork:
    """Return a plain SAM whose weights are what a method has made of them.

    Raises:
        InputError: the method has added layers, which no weight of SAM can stand for.
    """
    if added := added_names(network):
        raise InputError(
            f"method {network.method!r} cannot be merged: it adds layers with a nonlinearity "
            f"between SAM's own (the first of {len(added)} tensors is {added[0]}), which no weight "
            "of SAM can stand for; keep the tuned part, or tune with lora or coefficients"
        )
    if network.named_prompts is not None:
        log.warning("no plain SAM can be asked by name: the names are left out, boxes stay")
    weights = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if ".parametrizations." not in name and not name.startswith(NAMES)
    }
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            weights[f"{name}.weight"] = module.weight.detach()
    plain = architecture(network.backbone)
    plain.load_state_dict(weights)
    return plain.to(next(network.parameters()).device).requires_grad_(False)


def merged_weights(plain: SamNetwork, checkpoint: str | Path | None = None) -> dict[str, Tensor]:
    """Return the tensors of a merged network under the names of its base's file.

    What that network has beside (MobileSAM's classifier, which its own loader asks for) stays;
    wrappers and prefixes do not.

    Args:
        plain: what ``merge`` returned.
        checkpoint: the base; None for the published weights of its backbone.
    """
    own = plain.state_dict()
    base = read_weights(checkpoint or published(plain.backbone))
    return {name: own.get(own_name(name), tensor) for name, tensor in base.items()}


def write_weights(path: str | Path, weights: dict[str, Tensor]) -> None:
    """Write a checkpoint as SAM's are, under a temporary name, then rename it."""
    with replacing(Path(path)) as temporary:
        torch.save({name: tensor.detach().cpu() for name, tensor in weights.items()}, temporary)
