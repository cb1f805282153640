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
from samparser_monai.studies.tables.bootstrap import (
    DRAWS,
    Array,
    Bootstrap,
    Interval,
    Score,
    interval,
    told,
)
from samparser_monai.studies.tables.runs import Run, markdown, name_of, numbers_of, runs_of

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
times; differences are paired by case and seed, and bold where their interval leaves zero out, but
for what has one seed. With few cases or seeds such intervals are somewhat too narrow."""


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


def counts_most(groups: Sequence[Group]) -> Score:
    """Return the one score without which what a group gains over SAM as published changes most."""
    scores = groups[0].runs[0]["scores"]
    start = baselines_of(groups)[START].runs[0]

    def gains(without: Score | None) -> Array:
        left = Bootstrap(scores, without)
        means = [[left.mean(left.sums(run)) for run in group.runs] for group in groups]
        return np.array([np.mean(of) for of in means]) - left.mean(left.sums(start))

    known, before = Bootstrap(scores), gains(None)
    return max(known.counts, key=lambda at: np.abs(gains(at) - before).max())


def section_of(folder: Path, about: dict[str, Any]) -> str:
    """Return the tables of a study, one to a setting, its picture and what is known by it."""
    parts = [HOW.format(draws=DRAWS)]
    for groups in by_setting(groups_of(runs_of(folder), about["choose"])):
        scores = groups[0].runs[0]["scores"]
        parts += told_by(groups, Bootstrap(scores), about["choose"])
        if START in baselines_of(groups) and len(groups) > 1:
            parts += without_one(groups, about["choose"])
    parts.append(f"![gain against numbers trained](results_{folder.name}.png)")
    return "\n\n".join(filter(None, parts))


def without_one(groups: Sequence[Group], keys: Sequence[str]) -> list[str]:
    """Return what is known without the one score that counts most, where it is other than with."""
    scores = groups[0].runs[0]["scores"]
    group, case = most = counts_most(groups)
    before, now = (told_by(groups, Bootstrap(scores, without), keys) for without in (None, most))
    name = case if len(scores) == 1 else f"{group} of {case}"
    published = np.mean(baselines_of(groups)[START].runs[0]["scores"][group][case])
    one = f"The one score that counts most is {name} (SAM as published: {published:.1f})"
    if [line.split(" Not told")[0] for line in before[1].splitlines()] == [
        line.split(" Not told")[0] for line in now[1].splitlines()
    ]:
        return [f"{one}: what is told apart is the same without it."]
    return [f"**{one}. Without it:**", *now]


def told_by(groups: Sequence[Group], scores: Bootstrap, keys: Sequence[str]) -> list[str]:
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
        single = [group.name for group in groups if len(group.runs) == 1]
        for row in rows:
            row.append(told(over[row[0]], "+", row[0] not in single) if row[0] in over else "")
        known.append(f"- {known_beside(name, over, single)}")
    return [markdown(columns, rows), "\n".join(known), few(groups, scores)]


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


def known_beside(name: str, over: dict[str, Interval], single: Sequence[str] = ()) -> str:
    """Return in a sentence what is told apart from a baseline.

    Args:
        name: of the baseline.
        over: what trains -> by how much it is above it.
        single: of them, those with one seed, which are not.
    """
    above = [what for what, (_, low, _) in over.items() if low > 0 and what not in single]
    below = [what for what, (_, _, high) in over.items() if high < 0 and what not in single]
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
    shares = []
    for group in groups:
        seeds = [run["seed"] for run in group.runs]
        same = [run for run in whole.runs if run["seed"] in seeds]
        if group is not whole and same and 0 < numbers_of(group.runs[0]) < FEW:
            alone = scores.draws(same, start.runs)
            share, low, high = interval(100 * scores.draws(group.runs, start.runs) / alone)
            numbers = f"{numbers_of(group.runs[0]):,} ({group.name})"
            shares.append(f"{numbers} {share:.0f} % [{low:.0f}, {high:.0f}]")
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
