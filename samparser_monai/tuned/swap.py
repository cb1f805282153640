"""One trunk, many scenarios: each has a neck and a mask decoder, the trunk runs once."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError, unknown
from samparser_monai.methods.prefixes import TRUNK
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.network import Boxes
from samparser_monai.tuned.part import apply_tuned, tuned_names


class Scenarios(nn.Module):
    """Several tuned parts on one base, which share its trunk.

    Ask for the features of an image once, then any scenario for its masks.

    Args:
        base: the published network.
        parts: name of a scenario -> its tuned part.

    Raises:
        InputError: a part tunes the trunk itself, or was made on another base.
    """

    def __init__(self, base: SamNetwork, parts: Mapping[str, str | Path]) -> None:
        super().__init__()
        if not parts:
            raise InputError("no tuned part is named: give at least one")
        networks = {name: self._beside(base, path) for name, path in parts.items()}
        self.names = list(networks)
        self.networks = nn.ModuleList(networks.values())  # a name may be any text
        # Where all are cut at one place the features are those of a single network; otherwise all
        # start from what lies before every cut.
        cuts = {network.split.name: network.split for network in networks.values() if network.split}
        self.split: Any = cuts.popitem()[1] if len(cuts) == 1 else TRUNK

    @staticmethod
    def _beside(base: SamNetwork, path: str | Path) -> SamNetwork:
        network = copy.deepcopy(base)
        apply_tuned(path, network)
        of_neck = ("image_encoder.neck.", "mask_decoder.", "named_prompts.")
        if not all(name.startswith(of_neck) for name in tuned_names(network)):
            raise InputError(
                f"tuned part {path}: method {network.method!r} with {network.options} tunes the "
                "trunk itself, which scenarios cannot share; open it as a network of its own"
            )
        for name, module in base.image_encoder.named_children():
            if name != "neck":
                setattr(network.image_encoder, name, module)
        for name, parameter in base.image_encoder.named_parameters(recurse=False):
            setattr(network.image_encoder, name, parameter)
        return network

    def features(self, image: Tensor) -> Tensor:
        """Return what all scenarios share of an image Bx3xHxW, normalized: one trunk pass."""
        with torch.no_grad():
            return self.split.prefix(self.networks[0].image_encoder, image)

    def forward(self, name: str, features: Tensor, boxes: Boxes | None = None) -> Tensor:
        """Return the logits Tx1xhxw of one scenario for features and boxes, see SamNetwork.

        Raises:
            InputError: there is no scenario of that name.
        """
        if name not in self.names:
            raise unknown("scenario", name, self.names)
        network = self.networks[self.names.index(name)]
        return network.decode(self.split.suffix(network.image_encoder, features), boxes)[0]
