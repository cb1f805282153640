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

from samparser_monai.studies.choosing import setting_of
from samparser_monai.studies.tables.runs import Run, markdown, name_of, numbers_of, runs_of

DRAWS = 4000
FEW = 10_000
"""Numbers are few below that."""
NECK = "neck"
"""The space of a method that is given none."""
START = "SAM as published"
BASELINES = {  # what the others are compared with: method, decoder
    START: ("zero_shot", "frozen"),
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
    setting: frozenset[tuple[str, str]]
    """What SAM as published depends on too, see setting_of."""

    @property
    def kind(self) -> tuple[str, str]:
        """Return method and decoder; of options there are others."""
        return self.runs[0]["method"], self.runs[0]["decoder"]

    @property
    def space(self) -> str:
        """Return which weights the coefficients are of."""
        return self.runs[0]["options"].get("space", NECK)


def groups_of(runs: Iterable[Run], keys: Sequence[str]) -> list[Group]:
    """Return what was compared, by how many numbers it trains.

    What has no run of the first seed is left out.

    Args:
        runs: of the study.
        keys: whose values the first seed tried and its validation part chose.
    """
    found = []
    for name, tried in _alike(runs, keys).items():
        first = [run for run in tried if run["seed"] == 0]
        if not first:
            continue
        best = max(first, key=lambda run: run["validation"])["options"]
        kept = sorted((r for r in tried if r["options"] == best), key=lambda run: run["seed"])
        values = ["/".join(run["options"].get(key, "") for key in keys) for run in first]
        chosen = "/".join(best.get(key, "") for key in keys)
        setting = frozenset(setting_of(_others(first[0], keys)).items())
        found.append(Group(name, kept, chosen, sorted(values, key=_number), setting))
    return sorted(found, key=lambda group: (numbers_of(group.runs[0]), group.name))


def _alike(runs: Iterable[Run], keys: Sequence[str]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[name_of({**run, "options": _others(run, keys)})].append(run)
    return found


def _others(run: Run, keys: Sequence[str]) -> dict[str, str]:
    return {key: value for key, value in run["options"].items() if key not in keys}


def by_setting(groups: Iterable[Group]) -> list[list[Group]]:
    """Return groups that compare with each other, together."""
    found: dict[frozenset[tuple[str, str]], list[Group]] = defaultdict(list)
    for group in groups:
        found[group.setting].append(group)
    return list(found.values())


def left_out(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Return what the table or the picture of a study cannot tell, and why."""
    settings = by_setting(groups_of(runs, keys))
    told = {group.name for groups in settings for group in groups}
    return [
        *(
            f"{name} has no run of the first seed, which chooses: left out"
            for name in _alike(runs, keys)
            if name not in told
        ),
        *(
            f"{group.name} has no run of {START} beside it: not drawn"
            for groups in settings
            if START not in baselines_of(groups)
            for group in groups
        ),
    ]


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
    """Return the tables of a study, one to a setting, its picture and what is known by it."""
    tables: list[str] = []
    sentences: list[str] = []
    for groups in by_setting(groups_of(runs_of(folder), about["choose"])):
        scores = Bootstrap(groups[0].runs[0]["scores"])
        tables += table_of(groups, scores, about["choose"])
        sentences.append(few(groups, scores))
    picture = f"![gain against numbers trained](results_{folder.name}.png)"
    parts = [HOW.format(draws=DRAWS), *tables, picture, *sentences]
    return "\n\n".join(filter(None, parts))


def table_of(groups: Sequence[Group], scores: Bootstrap, keys: Sequence[str]) -> tuple[str, str]:
    """Return the table of groups of one setting, and in sentences what it tells apart."""
    columns = ["what trains", "numbers", "seeds", f"{', '.join(keys)} (of)", "mean"]
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
    return markdown(columns, rows), "\n".join(known)


def baselines_of(groups: Sequence[Group]) -> dict[str, Group]:
    """Return what the others of a setting are compared with, by name: of several, the best.

    Which is the best the validation part says. Coefficients of other weights than the neck's are
    none.
    """
    found = {
        name: [group for group in groups if group.kind == kind and group.space == NECK]
        for name, kind in BASELINES.items()
    }
    return {
        name: max(same, key=lambda group: group.runs[0]["validation"])
        for name, same in found.items()
        if same
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
    figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
    beside: Counter[int] = Counter()  # of as many numbers, to be told apart
    markers = iter("osD^v<>pP*Xhd" * 9)
    for groups in by_setting(groups_of(runs_of(folder), about["choose"])):
        scores = Bootstrap(groups[0].runs[0]["scores"])
        if (start := baselines_of(groups).get(START)) is None:
            continue
        for group, marker in zip(groups, markers, strict=False):
            if numbers := numbers_of(group.runs[0]):
                mean, low, high = interval(scores.draws(group.runs, start.runs))
                x, ends = numbers * 1.1 ** beside[numbers], [[mean - low], [high - mean]]
                axis.errorbar(x, mean, ends, marker=marker, capsize=3, label=group.name)
                beside[numbers] += 1
    axis.axhline(0, color="gray", linestyle="dashed", label=START)
    measure = about.get("measure", "points")
    axis.set(xscale="log", xlabel="numbers trained", ylabel=f"gain, {measure}, 95 % interval")
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
