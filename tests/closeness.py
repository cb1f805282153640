"""How near two computations of the same numbers must be: within a share of the largest of them.

Processors and libraries sum in orders of their own, so float32 differs in its last digits, and what
is lost belongs to the largest number of a sum: an absolute bound, or one on each number by itself,
holds on one machine and breaks on the next.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

Weights = Mapping[str, Tensor]
SHARE = 1e-4
"""Of float32 through a whole network: some 1e-6 with the instructions tried, and far more if one
weight is another."""


def assert_near(actual: Any, expected: Any, share: float = SHARE) -> None:
    """Compare tensors, or what becomes one, of one shape; a share of 0 is exactly."""
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    largest = float(expected.detach().double().abs().max()) if share else 0.0
    assert_close(actual, expected, rtol=0, atol=share * largest)


def assert_trained_alike(one: Weights, other: Weights, start: Weights, share: float) -> None:
    """Compare two trainings' weights: how far apart they end, as a share of the way they have gone.

    Adam moves a weight by its rate also where the gradient is nothing but rounding, so single
    weights may part; all of them together do not.
    """
    assert one.keys() == other.keys() == start.keys()
    ends = [torch.cat([of[name].float().flatten() for name in start]) for of in (one, other, start)]
    apart, way = (ends[0] - ends[1]).norm(), (ends[1] - ends[2]).norm()
    assert apart <= share * way, f"{apart / way:.1e} of the way apart"
    assert way > 0
