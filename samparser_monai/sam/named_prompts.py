"""Learned prompts: an organ is asked for by its name, in the place of a box."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError


class NamedPrompts(nn.Module):
    """Two tokens to an organ, in the place of those of a box's two corners.

    Before training each is the box of the whole frame.

    Args:
        organs: their names.
        start: 2xC, SAM's own tokens of that box.
    """

    text: Tensor

    def __init__(self, organs: Sequence[str], start: Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(start.detach().repeat(len(organs), 1, 1))
        # with the weights, so that a file of them says whose tokens are whose
        encoded = json.dumps(list(organs)).encode()
        self.register_buffer("text", torch.tensor(list(encoded), dtype=torch.uint8))

    @property
    def organs(self) -> list[str]:
        """The names, in the order of the tokens."""
        return _organs(self.text)

    def forward(
        self, names: Tensor, sparse: Tensor, dense: Tensor, boxed: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the sparse (TxPxC) and dense (TxCxhxw) prompts of T prompts, some of them named.

        Args:
            names: T places in ``organs``, -1 for a prompt without a name.
            sparse, dense: of SAM's prompt encoder.
            boxed: whether the last two sparse tokens are those of boxes.
        """
        names = names.to(self.tokens.device)
        named = self.tokens[names.clamp(min=0)].to(sparse)
        if boxed:
            sparse, corners = sparse[:, :-2], sparse[:, -2:]
            named = torch.where(names[:, None, None] < 0, corners, named)
        sparse = torch.cat([sparse.expand(len(names), -1, -1), named], dim=1)
        return sparse, dense.expand(len(names), -1, -1, -1)


def with_names(network: Any, organs: Sequence[str]) -> Any:
    """Let a network be asked for organs by name; without organs it stays as it is.

    Args:
        network: after its method has been applied, which would freeze the names.
        organs: their names.

    Raises:
        InputError: the network knows others.
    """
    if not organs:
        return network
    known = network.named_prompts.organs if network.named_prompts is not None else []
    if known == list(organs):
        return network
    if known:
        raise InputError(
            f"organs={list(organs)} are to be asked for by name, the network knows {known}: "
            "give the same labels, in that order"
        )
    side = network.prompt_encoder.input_image_size[0]
    start = named_box(network, [0.0, 0.0, side, side])
    network.named_prompts = NamedPrompts(organs, start).to(start.device)
    return network


def named_box(network: Any, box: Sequence[float]) -> Tensor:
    """Return SAM's own tokens (2xC) of a box, XYXY in the model's square."""
    corners = torch.tensor([list(box)], device=next(network.parameters()).device)
    with torch.no_grad():
        tokens: Tensor = network.prompt_encoder(points=None, boxes=corners, masks=None)[0][0]
    return tokens


def organs_in(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the organs that a network with these weights can be asked for by name."""
    text = weights.get("named_prompts.text")
    return [] if text is None else _organs(text)


def _organs(text: Tensor) -> list[str]:
    return json.loads(bytes(text.tolist()))
