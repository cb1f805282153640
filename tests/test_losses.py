"""The loss on small logits with answers worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from samparser_monai.training.losses import BoxPromptLoss

LOGIT = 20.0  # sigmoid is 1 - 2e-9


def pictures(*rows: list[float]) -> Tensor:
    """Return instances T x 1 x 1 x w."""
    return torch.tensor(rows)[:, None, None]


def loss(logits: Tensor, label: Tensor, focal: float = 0.0) -> float:
    return BoxPromptLoss(focal)(logits, label).item()


# Dice smooths numerator and denominator by 1e-5 of a pixel.
@pytest.mark.parametrize(
    ("logits", "label", "value"),
    [
        # log 2, and the soft Dice of 1/2 everywhere: 1 - 2 * (4 / 2) / (4 / 2 + 4)
        ([[0.0] * 4], [[1.0] * 4], math.log(2) + 1 / 3),
        # the label covers half: 1 - 2 * (2 / 2) / (4 / 2 + 2)
        ([[0.0] * 4], [[1.0, 1.0, 0.0, 0.0]], math.log(2) + 1 / 2),
        # all wrong: each pixel costs its logit, and nothing overlaps
        ([[-LOGIT, LOGIT]], [[1.0, 0.0]], LOGIT + 1),
        # two instances, one perfect and one all wrong: their mean
        ([[LOGIT, -LOGIT], [-LOGIT, LOGIT]], [[1.0, 0.0], [1.0, 0.0]], (LOGIT + 1) / 2),
        # soft labels: entropy log 2, and 1 - 2 * (4 / 4) / (4 / 2 + 4 / 2)
        ([[0.0] * 4], [[0.5] * 4], math.log(2) + 1 / 2),
    ],
)
def test_value_by_hand(logits: list, label: list, value: float) -> None:
    assert loss(pictures(*logits), pictures(*label)) == pytest.approx(value, rel=1e-5)


def test_perfect_logits_cost_nothing() -> None:
    label = pictures([1.0, 0.0, 1.0, 0.0])
    right, wrong = (loss(sign * LOGIT * (2 * label - 1), label, focal=1.0) for sign in (1, -1))
    assert 0 <= right < 1e-6 * wrong


def test_focal_loss_adds_its_weight() -> None:
    # at logit 0 focal is (1/2)^2 log 2
    logits, label = pictures([0.0] * 4), pictures([1.0, 1.0, 0.0, 0.0])
    plain = loss(logits, label)
    for weight in (0.5, 1.0, 20.0):
        added = loss(logits, label, focal=weight) - plain
        assert added == pytest.approx(weight * math.log(2) / 4, rel=1e-5)  # float32 sums


def test_gradient_reaches_every_instance() -> None:
    logits = torch.zeros(3, 1, 2, 2, requires_grad=True)
    BoxPromptLoss(1.0)(logits, torch.ones(3, 1, 2, 2)).backward()
    assert (logits.grad < 0).all()
