"""Means over cases and seeds that are drawn anew: what a difference may be, by chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samparser_monai.errors import InputError
from samparser_monai.studies.tables.runs import Run, name_of

DRAWS = 4000
Array = np.ndarray[Any, Any]
Interval = tuple[float, float, float]
"""A figure, and the ends of its interval."""
Score = tuple[str, str]
"""What was scored: a group of cases (an organ, say), and a case."""


def drawn(count: int, seed: int) -> Array:
    """Return how often each of some things is drawn, draws x things; first, each is once."""
    draw = np.random.RandomState(seed)  # the one generator that numpy promises never to change
    draws = draw.multinomial(count, np.full(count, 1 / count), DRAWS)
    return np.vstack([np.ones((1, count)), draws])


class Bootstrap:
    """The cases of a study drawn anew, the same for all that is asked.

    Args:
        scores: group of cases (an organ, say) -> case -> its scores, as a run keeps them.
        without: what is left out of them.
    """

    def __init__(
        self, scores: dict[str, dict[str, list[float]]], without: Score | None = None
    ) -> None:
        self.counts = {
            (group, case): len(of)
            for group, cases in scores.items()
            for case, of in cases.items()
            if (group, case) != without
        }
        self.groups, self.cases = (sorted(set(of)) for of in zip(*self.counts, strict=True))
        self.counted = self._table(self.counts)
        self.weights = drawn(len(self.cases), 0)

    def _table(self, values: Mapping[Score, float]) -> Array:
        """Return values, cases x groups; 0 for what there is not."""
        return np.array([[values.get((g, case), 0) for g in self.groups] for case in self.cases])

    def sums(self, run: Run) -> Array:
        """Return the sum of a run's scores, cases x groups.

        Raises:
            InputError: it has scored other cases.
        """
        found = {at: run["scores"].get(at[0], {}).get(at[1], []) for at in self.counts}
        if differs := [at for at, of in found.items() if len(of) != self.counts[at]]:
            raise InputError(
                f"{name_of(run)}, seed {run['seed']}, did not score {' of '.join(differs[0])} as "
                "the others of its study did: take its line out, and run its cell again"
            )
        return self._table({at: sum(of) for at, of in found.items()})

    def mean(self, values: Array) -> Array:
        """Return the mean over groups of the mean over their scores.

        Args:
            values: summed, ... x cases x groups.
        """
        return np.mean(values.sum(-2) / self.counted.sum(0), -1)

    def draws(self, runs: Sequence[Run], less: Sequence[Run] = ()) -> Array:
        """Return the mean over groups of the mean over their scores: as it is, and of each draw.

        Args:
            runs: a run to a seed.
            less: of the same seeds, to be taken away; seeds that one side lacks are left out.
        """
        others = {run["seed"]: self.sums(run) for run in less}
        if less and less[0]["method"] == "zero_shot":  # the same for all seeds
            others = dict.fromkeys([run["seed"] for run in runs], others[0])
        kept = [run for run in runs if run["seed"] in others or not less]
        values = [self.sums(run) - others.get(run["seed"], 0.0) for run in kept]
        seeds = drawn(len(kept), 1) / len(kept)
        summed = np.einsum("dc,ds,scg->dg", self.weights, seeds, np.array(values), optimize=True)
        counted = self.weights @ self.counted
        # a group that no drawn case shows says nothing in that draw
        with np.errstate(invalid="ignore"):
            return np.nanmean(np.where(counted > 0, summed / counted, np.nan), axis=1)


def interval(draws: Array) -> Interval:
    """Return what is, and the ends of the 95 % interval of what was drawn."""
    low, high = np.percentile(draws[1:], [2.5, 97.5])
    return float(draws[0]), float(low), float(high)


def told(values: Interval, sign: str = "", apart: bool = True) -> str:
    """Return a figure with its interval; a difference (a sign) is bold if it is told apart."""
    mean, low, high = values
    mark = "**" if sign and apart and not low <= 0 <= high else ""
    return f"{mark}{mean:{sign}.2f}{mark} [{low:{sign}.2f}, {high:{sign}.2f}]"
