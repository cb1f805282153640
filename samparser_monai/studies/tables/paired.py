"""A study that chose by a part of its own: its table, its picture and what they tell apart."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from samparser_monai.studies.tables.runs import Run, markdown, name_of, numbers_of, runs_of

DRAWS = 4000
FEW = 10_000
"""Numbers are few below that."""
BASELINES = {  # what the others are compared with: method, decoder
    "SAM as published": ("zero_shot", "frozen"),
    "the decoder alone": ("decoder_only", "tuned"),
    "512 coefficients": ("coefficients", "frozen"),
}
HOW = """In brackets the 95 % interval of a bootstrap over cases and seeds, both drawn anew {draws}
times; differences are paired by case and seed, and bold where their interval leaves zero out. With
few cases such intervals are somewhat too narrow."""
Array = np.ndarray[Any, Any]
Interval = tuple[float, float, float]
"""A figure, and the ends of its interval."""


@dataclass
class Group:
    """The runs of what trained alike, at the rate that the validation part chose."""

    name: str
    runs: list[Run]
    chosen: str
    tried: list[str]

    @property
    def kind(self) -> tuple[str, str]:
        """Return method and decoder; of options there are others."""
        return self.runs[0]["method"], self.runs[0]["decoder"]


def groups_of(runs: Iterable[Run], keys: Sequence[str]) -> list[Group]:
    """Return what was compared, by how many numbers it trains.

    Args:
        runs: of the study.
        keys: whose values the first seed tried and its validation part chose.
    """
    alike: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        others = {key: value for key, value in run["options"].items() if key not in keys}
        alike[name_of({**run, "options": others})].append(run)
    found = []
    for name, tried in alike.items():
        first = [run for run in tried if run["seed"] == 0]
        best = max(first, key=lambda run: run["validation"])["options"]
        kept = sorted((r for r in tried if r["options"] == best), key=lambda run: run["seed"])
        values = ["/".join(run["options"].get(key, "") for key in keys) for run in first]
        chosen = "/".join(best.get(key, "") for key in keys)
        found.append(Group(name, kept, chosen, sorted(values, key=_number)))
    return sorted(found, key=lambda group: (numbers_of(group.runs[0]), group.name))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def drawn(count: int, seed: int) -> Array:
    """Return how often each of some things is drawn, draws x things; first, each is once."""
    draw = np.random.RandomState(seed)  # the one generator that numpy promises never to change
    draws = draw.multinomial(count, np.full(count, 1 / count), DRAWS)
    return np.vstack([np.ones((1, count)), draws])


class Bootstrap:
    """The cases of a study drawn anew, the same for all that is asked.

    Args:
        scores: group of cases (an organ, say) -> case -> its scores, as a run keeps them.
    """

    def __init__(self, scores: dict[str, dict[str, list[float]]]) -> None:
        self.groups = sorted(scores)
        self.cases = sorted({case for of in scores.values() for case in of})
        self.weights = drawn(len(self.cases), 0)

    def sums(self, run: Run) -> tuple[Array, Array]:
        """Return sum and count of a run's scores, cases x groups."""
        of = [[run["scores"][g].get(case, []) for g in self.groups] for case in self.cases]
        return (
            np.array([[sum(scores) for scores in row] for row in of]),
            np.array([[len(scores) for scores in row] for row in of]),
        )

    def draws(self, runs: Sequence[Run], less: Sequence[Run] = ()) -> Array:
        """Return the mean over groups of the mean over their scores: as it is, and of each draw.

        Args:
            runs: a run to a seed.
            less: of the same seeds, to be taken away; seeds that one side lacks are left out.
        """
        others = {run["seed"]: self.sums(run)[0] for run in less}
        if less and less[0]["method"] == "zero_shot":  # the same for all seeds
            others = dict.fromkeys([run["seed"] for run in runs], others[0])
        kept = [run for run in runs if run["seed"] in others or not less]
        values = [self.sums(run)[0] - others.get(run["seed"], 0.0) for run in kept]
        seeds = drawn(len(kept), 1) / len(kept)
        summed = np.einsum("dc,ds,scg->dg", self.weights, seeds, np.array(values), optimize=True)
        counted = self.weights @ self.sums(kept[0])[1]
        # a group that no drawn case shows says nothing in that draw
        with np.errstate(invalid="ignore"):
            return np.nanmean(np.where(counted > 0, summed / counted, np.nan), axis=1)


def interval(draws: Array) -> Interval:
    """Return what is, and the ends of the 95 % interval of what was drawn."""
    low, high = np.percentile(draws[1:], [2.5, 97.5])
    return float(draws[0]), float(low), float(high)


def section_of(folder: Path, about: dict[str, Any]) -> str:
    """Return the table of a study, its picture and what is known by it."""
    groups = groups_of(runs_of(folder), about["choose"])
    scores = Bootstrap(groups[0].runs[0]["scores"])
    columns = ["what trains", "numbers", "seeds", f"{', '.join(about['choose'])} (of)", "mean"]
    rows = [
        [
            *(group.name, f"{numbers_of(group.runs[0]):,}", f"{len(group.runs)}"),
            f"{group.chosen} ({', '.join(group.tried)})" if group.chosen else "",
            told(interval(scores.draws(group.runs))),
        ]
        for group in groups
    ]
    known = []
    for name, baseline in baselines_of(groups).items():
        columns.append(f"over {name}")
        over = {
            group.name: interval(scores.draws(group.runs, baseline.runs))
            for group in groups
            if group is not baseline and group.kind[0] != "zero_shot"
        }
        for row in rows:
            row.append(told(over[row[0]], "+") if row[0] in over else "")
        known.append(f"- {known_beside(name, over)}")
    picture = f"![gain against numbers trained](results_{folder.name}.png)"
    parts = [HOW.format(draws=DRAWS), markdown(columns, rows), "\n".join(known), picture]
    return "\n\n".join([*parts, few(groups, scores)]).rstrip()


def baselines_of(groups: Iterable[Group]) -> dict[str, Group]:
    """Return what of a study the others are compared with, by name."""
    return {
        name: group for name, kind in BASELINES.items() for group in groups if group.kind == kind
    }


def told(values: Interval, sign: str = "") -> str:
    """Return a figure with its interval; a difference (a sign) is bold if it is told apart."""
    mean, low, high = values
    mark = "**" if sign and not low <= 0 <= high else ""
    return f"{mark}{mean:{sign}.2f}{mark} [{low:{sign}.2f}, {high:{sign}.2f}]"


def known_beside(name: str, over: dict[str, Interval]) -> str:
    """Return in a sentence what is told apart from a baseline."""
    above = [what for what, (_, low, _) in over.items() if low > 0]
    below = [what for what, (_, _, high) in over.items() if high < 0]
    same = {what: of for what, of in over.items() if what not in above + below}
    parts = [
        f"above it {'; '.join(above) or 'nothing'}",
        f"below it {'; '.join(below) or 'nothing'}",
    ]
    if same:
        low, high = min(of[1] for of in same.values()), max(of[2] for of in same.values())
        parts.append(f"not told apart, between {low:+.2f} and {high:+.2f}, {'; '.join(same)}")
    return f"Beside {name}: {'. '.join(part.capitalize() for part in parts)}."


def few(groups: Sequence[Group], scores: Bootstrap) -> str:
    """Return in a sentence what few numbers reach of what the whole decoder gains."""
    start, whole = (baselines_of(groups).get(name) for name in list(BASELINES)[:2])
    if start is None or whole is None:
        return ""
    gain = scores.draws(whole.runs, start.runs)
    if interval(gain)[1] <= 0:
        return "The decoder alone gains nothing that is told apart: few numbers have no measure."
    shares = [
        f"{numbers_of(group.runs[0]):,} ({group.name}) {share:.0f} % [{low:.0f}, {high:.0f}]"
        for group in groups
        if group is not whole and 0 < numbers_of(group.runs[0]) < FEW
        for share, low, high in [interval(100 * scores.draws(group.runs, start.runs) / gain)]
    ]
    return (
        f"Few numbers: of what the decoder's {numbers_of(whole.runs[0]):,} gain over SAM as "
        f"published, {told(interval(gain), '+')}, these reach: {'; '.join(shares)}."
    )


def draw(folder: Path, about: dict[str, Any], path: Path) -> None:
    """Draw what each group gains over SAM as published, in pairs, over the numbers it trains."""
    groups = groups_of(runs_of(folder), about["choose"])
    scores = Bootstrap(groups[0].runs[0]["scores"])
    start = baselines_of(groups)["SAM as published"]
    figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
    beside: Counter[int] = Counter()  # of as many numbers, to be told apart
    for marker, group in zip("osD^v<>pP*Xhd" * 9, groups, strict=False):
        if numbers := numbers_of(group.runs[0]):
            mean, low, high = interval(scores.draws(group.runs, start.runs))
            x, ends = numbers * 1.1 ** beside[numbers], [[mean - low], [high - mean]]
            axis.errorbar(x, mean, ends, marker=marker, capsize=3, label=group.name)
            beside[numbers] += 1
    axis.axhline(0, color="gray", linestyle="dashed", label="SAM as published")
    measure = about.get("measure", "points")
    axis.set(xscale="log", xlabel="numbers trained", ylabel=f"gain, {measure}, 95 % interval")
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
