"""Where each method cuts the encoder: the frozen prefix gives the features, the rest is tuned."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from samparser_monai.spectrum import combine, project


class Split(NamedTuple):
    """The two halves of an image encoder; suffix(prefix(image)) is the encoder's output."""

    name: str
    prefix: Callable[[nn.Module, Tensor], Tensor]
    suffix: Callable[[nn.Module, Tensor], Tensor]


def _embedding(encoder: nn.Module, image: Tensor) -> Tensor:
    return encoder(image)


def _identity(encoder: nn.Module, features: Tensor) -> Tensor:
    return features


def _projection(encoder: nn.Module, image: Tensor) -> Tensor:
    return project(encoder.neck[0], encoder.trunk(image))


def _from_projection(encoder: nn.Module, features: Tensor) -> Tensor:
    return encoder.neck[1:](combine(encoder.neck[0], features))


EMBEDDING = Split("embedding", _embedding, _identity)
"""Nothing of the encoder is tuned: Bx256x64x64."""

PROJECTION = Split("projection", _projection, _from_projection)
"""Only the neck's coefficients are: Vh of its first convolution is frozen too, Bx256x64x64."""
