"""What is asked of SAM as published and of the tuned model alike."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from samparser_monai.errors import at_least
from samparser_monai.metrics.scores import Scores


class KeepPictures:
    """Keep the masks of some pictures of an evaluation, evenly over its loader."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: dict[int, list[dict[str, Any]]] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep the masks of this batch if it is one of the chosen."""
        number, length = engine.state.iteration, engine.state.epoch_length
        if number in np.linspace(1, length, min(self.count, length)).round():
            self.kept[number - 1] = engine.state.output["judged"]


class BoxShifts:
    """Run an evaluator on boxes that are more or less loose, and keep the averages of each.

    Args:
        evaluator: of the model as it is then.
        metric: of the evaluator.
        loosen: the LoosenBoxesd of its transforms; the distance that it has comes last, so that
            metric and pictures are left with that one.
        shifts: the other distances.
    """

    def __init__(
        self, evaluator: Engine, metric: Scores, loosen: Any, shifts: Sequence[float]
    ) -> None:
        at_least(0.0, **{f"box_shifts[{n}]": shift for n, shift in enumerate(shifts)})
        self.evaluator, self.metric, self.loosen = evaluator, metric, loosen
        self.shifts = [*(s for s in shifts if s != loosen.distance), loosen.distance]

    def run(self) -> dict[str, dict[str, float]]:
        """Return each average by the distance: {"miou": {"0": ..., "20": ...}, ...}."""
        found: dict[str, dict[float, float]] = defaultdict(dict)
        for shift in self.shifts:
            self.loosen.distance = shift
            self.evaluator.run()
            for name, value in rounded(self.metric.averages()).items():
                found[name][shift] = value
        return {n: {f"{s:g}": of[s] for s in sorted(of)} for n, of in found.items()}


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Round percentages to two digits."""
    return {key: round(value, 2) for key, value in values.items()}
