"""What ends a training or an evaluation that has gone wrong, in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import Tensor, nn

from samparser_monai.errors import Unfinished


class Finite:
    """Stop a training at the first number that is not finite, before it changes a weight.

    Args:
        network: which is trained.
        ckpt_dir: where what was saved before is kept, for the message.
    """

    def __init__(self, network: nn.Module, ckpt_dir: str | Path) -> None:
        self.network, self.ckpt_dir = network, ckpt_dir

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it before validation and what saves."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._loss)
        if not engine.amp:  # a scaler finds infinite gradients, and makes up for them
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._gradients)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._weights)

    def _loss(self, engine: Engine) -> None:
        self._check("the loss", [engine.state.output["loss"].detach()], engine)

    def _gradients(self, engine: Engine) -> None:
        found = [p.grad for p in self.network.parameters() if p.grad is not None]
        self._check("a gradient", found, engine)

    def _weights(self, engine: Engine) -> None:
        found = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        self._check("a weight", found, engine)

    def _check(self, what: str, numbers: list[Tensor], engine: Engine) -> None:
        if numbers and not torch.stack([n.isfinite().all() for n in numbers]).all():
            state = engine.state
            raise Unfinished(
                f"{what} is not finite at step {state.iteration} (epoch {state.epoch}, "
                f"{names_of(state.batch)}): look at that case, or lower the rates; what was saved "
                f"before stays in ckpt_dir={str(self.ckpt_dir)!r}"
            )


def names_of(batch: Mapping[str, Any]) -> str:
    """Return the cases of a collated batch, and their slices, for a reader."""
    cases, slices = batch.get("case", []), batch.get("slice", [])
    return ", ".join(
        f"case {case!r}" + "".join(f" slice {k}" for k in slices[n : n + 1])
        for n, case in enumerate(cases)
    )


class PlainErrors:
    """Let an error leave an engine at once; attach it before all others.

    Otherwise MONAI's StatsHandler prints its stack, also where one line is the whole of it.
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Engine, error: Exception) -> None:
        """Raise it."""
        raise error
