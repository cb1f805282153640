"""Where each method cuts the encoder: the frozen prefix gives the features, the rest is tuned."""

from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samparser_monai.spectrum import combine, project


class Split(NamedTuple):
    """The two halves of an image encoder; suffix(prefix(image)) is the encoder's output.

    The prefix depends on no tensor of the encoder but those whose names begin as ``reads`` says.
    """

    name: str
    prefix: Callable[[Any, Tensor], Tensor]
    suffix: Callable[[Any, Tensor], Tensor]
    reads: tuple[str, ...] = ("",)


def _embedding(encoder: Any, image: Tensor) -> Tensor:
    return encoder(image)


def _identity(encoder: Any, features: Tensor) -> Tensor:
    return features


def _trunk(encoder: Any, image: Tensor) -> Tensor:
    return encoder.trunk(image)


def _neck(encoder: Any, features: Tensor) -> Tensor:
    return encoder.neck(features)


def _projection(encoder: Any, image: Tensor) -> Tensor:
    return project(encoder.neck[0], encoder.trunk(image))


def _from_projection(encoder: Any, features: Tensor) -> Tensor:
    first, norm, second, last_norm = encoder.neck
    features = features.contiguous(memory_format=torch.channels_last)
    x = norm(combine(first, features))
    # Vh first and p after it: the 3x3 convolution is frozen then and needs no gradient
    return last_norm(combine(second, project(second, x)))


def _stem(encoder: Any, image: Tensor) -> Tensor:
    return encoder.stem(image)


def _from_stem(encoder: Any, features: Tensor) -> Tensor:
    return encoder.neck(encoder.blocks(features))


def _early(encoder: Any, image: Tensor, last: int) -> Tensor:
    return encoder.early(image, last)


def _late(encoder: Any, features: Tensor, last: int) -> Tensor:
    return encoder.neck(encoder.late(features, last))


EMBEDDING = Split("embedding", _embedding, _identity)
"""Nothing of the encoder is tuned: Bx256x64x64."""

TRUNK = Split("trunk", _trunk, _neck)
"""Bases of the neck are: Bx768x64x64 for ViT-B, Bx320x64x64 for TinyViT."""

PROJECTION = Split("projection", _projection, _from_projection)
"""Only the neck's coefficients are: Vh of its first convolution is frozen too, Bx256x64x64."""

STEM = Split("stem", _stem, _from_stem, ("patch_embed.", "stages.0."))
"""The attention layers are, of a TinyViT: Bx64x256x256."""


def before_attention(encoder: Any) -> Split | None:
    """Return where an encoder is cut whose attention is tuned; a ViT begins with it."""
    return STEM if hasattr(encoder, "stem") else None


def before_last(encoder: Any, block: str, last: int) -> Split:
    """Return the cut before the ``last`` transformer blocks: Bx64x64x768 for ViT-B.

    Args:
        encoder: whose tensors are named in the order in which they are used.
        block: the name of the first of those blocks.
        last: how many there are.
    """
    read = takewhile(lambda name: not name.startswith(f"{block}."), encoder.state_dict())
    return Split(
        f"last_{last}_blocks",
        partial(_early, last=last),
        partial(_late, last=last),
        tuple(read),
    )
