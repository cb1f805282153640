"""What an epoch begins with, its seed and its rates, and what is noted of it."""

import math
import time
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from samparser_monai.errors import InputError


class EpochSeed:
    """Seed every generator at the start of an epoch, so that an epoch does not depend on the past.

    Args:
        seed: of the run; epoch n uses seed + n: the next seed has its order one epoch before.
        loader: a FeatureLoader, whose order and random transforms are seeded too.
    """

    def __init__(self, seed: int, loader: Any) -> None:
        self.seed, self.loader = seed, loader

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that begins."""
        seed = self.seed + engine.state.epoch
        set_determinism(seed)
        set_rnd(self.loader.dataset, seed=seed)
        self.loader.sampler.set_epoch(seed)


def cosine(optimizer: Optimizer, steps: int, factor: float = 1.0) -> LambdaLR:
    """Return the schedule that lets the rates fall to 0 along half a cosine of so many steps.

    Args:
        optimizer: whose groups have the rates.
        steps: of the training.
        factor: of all rates, so that those of every method can be searched alike.

    Raises:
        InputError: the factor is not above zero.
    """
    if not factor > 0:
        raise InputError(f"rate_factor must be above 0, not {factor}")
    return LambdaLR(
        optimizer, lambda step: factor * (1 + math.cos(math.pi * min(step / steps, 1))) / 2
    )


class History:
    """What a training has been through, kept over a resume: epochs, losses, scores, seconds.

    The seconds are of training alone, without validation.

    Args:
        validator: whose metrics are noted after the epochs that it has judged.
    """

    def __init__(self, validator: Engine) -> None:
        self.validator = validator
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._losses: list[Tensor] = []
        self._begun = self._ended = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it behind the validation handler."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iterated)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._completed)

    def _started(self, engine: Engine) -> None:
        self._begun, self._losses = time.monotonic(), []

    def _iterated(self, engine: Engine) -> None:
        self._losses.append(engine.state.output[0]["loss"].detach())
        self._ended = time.monotonic()  # before validation begins

    def _completed(self, engine: Engine) -> None:
        losses = torch.stack(self._losses).tolist()  # only now: a step waits for no number
        row = {"epoch": engine.state.epoch, "loss": sum(losses) / len(losses)}
        if self.validator.state.epoch == engine.state.epoch:
            row |= self.validator.state.metrics
        self.rows.append(row)
        self.seconds += self._ended - self._begun

    def best(self) -> dict[str, float]:
        """Return the row of the epoch whose model is kept: the first with the best key metric."""
        name = self.validator.state.key_metric_name
        return max(self._judged(), key=lambda row: row[name], default={})

    def validations_since_best(self) -> int:
        """Return how many validations have not risen above the best one."""
        best = self.best()
        return sum(row["epoch"] > best["epoch"] for row in self._judged())

    def _judged(self) -> list[dict[str, float]]:
        return [row for row in self.rows if self.validator.state.key_metric_name in row]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self.seconds = list(state["rows"]), state["seconds"]
