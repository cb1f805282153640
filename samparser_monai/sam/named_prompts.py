"""Learned prompts: an organ is asked for by its name, in the place of a box."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from samparser_monai.errors import InputError, unknown
from samparser_monai.geometry.bodies import within

Decoder = Literal["own", "shared"]


class NamedPrompts(nn.Module):
    """Two tokens to an organ, beside those of a box's two corners where it is expected.

    That box lies in the body's: an organ is looked for in the same place of a large patient and of
    a small one, in a narrow field of view and in a wide one. Before training it is the body's, and
    the tokens are 0.

    Attributes:
        decoder: a mask decoder of the names' own, beside that of boxes; None where both share
            the network's.

    Args:
        organs: their names.
        channels: of a token.
    """

    text: Tensor
    places: Tensor

    def __init__(self, organs: Sequence[str], channels: int) -> None:
        super().__init__()
        self.decoder: nn.Module | None = None
        self.tokens = nn.Parameter(torch.zeros(len(organs), 2, channels))
        self.register_buffer("places", torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(organs), 1))
        # with the weights, so that a file of them says whose tokens are whose
        encoded = json.dumps(list(organs)).encode()
        self.register_buffer("text", torch.tensor(list(encoded), dtype=torch.uint8))

    @property
    def organs(self) -> list[str]:
        """The names, in the order of the tokens."""
        return _organs(self.text)

    @property
    def taught(self) -> list[str]:
        """The names that training has asked for: what the others would find means nothing."""
        return self.taught_by(self.tokens)

    def taught_by(self, tokens: Tensor) -> list[str]:
        """Return the names that training has asked for if these are its tokens."""
        return [organ for organ, own in zip(self.organs, tokens, strict=True) if own.any()]

    def boxes(self, names: Tensor, boxes: Tensor) -> Tensor:
        """Return the boxes (Tx4) to be asked by: of prompts by name where the organ is expected.

        Args:
            names: T places in ``organs``, -1 for a prompt by its box.
            boxes: Tx4, of a prompt by name that of the body.
        """
        expected = within(boxes, self.places[names.clamp(min=0)].to(boxes))
        return torch.where(names[:, None] < 0, boxes, expected)

    def forward(self, names: Tensor, sparse: Tensor) -> Tensor:
        """Return sparse prompts (TxPxC) of which the last two are a box's, with what is learned."""
        learned = self.tokens[names.clamp(min=0)] * (names[:, None, None] >= 0)
        return torch.cat([sparse[:, :-2], sparse[:, -2:] + learned.to(sparse)], dim=1)


def with_names(network: Any, organs: Sequence[str], decoder: Decoder = "shared") -> Any:
    """Let a network be asked for organs by name; without organs it stays as it is.

    Args:
        network: after its method has been applied, which would freeze the names.
        organs: their names.
        decoder: ``own`` begins as the network's and is tuned for names alone; or ``shared``.

    Raises:
        InputError: the network knows others, or with another decoder.
    """
    if decoder not in get_args(Decoder):
        raise unknown("name_decoder", decoder, get_args(Decoder))
    if not organs:
        return network
    if (known := network.named_prompts) is not None:
        if known.organs != list(organs):
            raise InputError(
                f"organs={list(organs)} are to be asked for by name, the network knows "
                f"{known.organs}: give the same labels, in that order"
            )
        if (known.decoder is not None) != (decoder == "own"):
            raise InputError(
                f"name_decoder={decoder!r}, and the network's names were made otherwise: give "
                f"--name_decoder {'shared' if decoder == 'own' else 'own'}"
            )
        return network
    like = network.prompt_encoder.no_mask_embed.weight
    network.named_prompts = NamedPrompts(organs, like.shape[1]).to(like.device)
    if decoder == "own":
        network.named_prompts.decoder = _plain(network.mask_decoder)
    return network


def _plain(decoder: nn.Module) -> nn.Module:
    """Return a copy of a decoder as it computes now, all of which is to be tuned."""
    copied = copy.deepcopy(decoder)
    for module in [*copied.modules()]:
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    return copied.requires_grad_(True)


def organs_in(weights: Mapping[str, Tensor]) -> tuple[list[str], Decoder]:
    """Return the organs that these weights can be asked for by name, and by which decoder."""
    text = weights.get("named_prompts.text")
    own = any(name.startswith("named_prompts.decoder.") for name in weights)
    return [] if text is None else _organs(text), "own" if own else "shared"


def check_organs(organs: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """Return organs that people list (``liver,spleen``), each once, all of them known by name.

    Raises:
        InputError: the network knows one of them, or any, not by name.
    """
    listed = organs.split(",") if isinstance(organs, str) else list(organs)
    found = list(dict.fromkeys(str(organ).strip() for organ in listed))
    for organ in found:
        if not names:
            raise InputError(
                f"organs={organ!r} asks for an organ by name, which this model has not learned: "
                "give --prompts, or train a model with --names True"
            )
        if organ not in names:
            raise unknown("organ in organs:", organ, names)
    return found


def _organs(text: Tensor) -> list[str]:
    return json.loads(bytes(text.tolist()))
