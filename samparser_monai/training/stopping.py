"""What ends a training or an evaluation that has gone wrong, in one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

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
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._weights)

    def _step(self, engine: Engine) -> None:
        """Look at loss and gradients at once: a GPU is waited for once in a step."""
        numbers = {"the loss": [engine.state.output["loss"].detach()]}
        if not engine.amp:  # a scaler finds infinite gradients, and makes up for them
            numbers["a gradient"] = [
                p.grad for p in self.network.parameters() if p.grad is not None
            ]
        self._check(numbers, engine)

    def _weights(self, engine: Engine) -> None:
        found = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        self._check({"a weight": found}, engine)

    def _check(self, numbers: Mapping[str, list[Tensor]], engine: Engine) -> None:
        if _finite([one for some in numbers.values() for one in some]):
            return
        what, state = next(w for w, some in numbers.items() if not _finite(some)), engine.state
        raise Unfinished(
            f"{what} is not finite at step {state.iteration} (epoch {state.epoch}, "
            f"{names_of(state.batch)}): look at that case, or lower the rates; what was saved "
            f"before stays in ckpt_dir={str(self.ckpt_dir)!r}"
        )


def _finite(numbers: list[Tensor]) -> bool:
    return bool(get_total_norm(numbers, torch.inf).isfinite())


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
