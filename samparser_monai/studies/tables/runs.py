"""What the tables have in common: runs in groups, figures over seeds, Markdown."""

import statistics
from collections import defaultdict
from pathlib import Path

from scipy.stats import ttest_1samp

from samparser_monai.harness.runs import FILE, Run, read_runs

RESULTS = Path("results")
"""Folder of the studies, where the command runs."""
Groups = dict[str, list[Run]]


def runs_of(folder: Path) -> list[Run]:
    """Return the runs of a study."""
    return list(read_runs(folder).values())


def has_runs(folder: Path) -> bool:
    """Tell whether a study has runs already: one that was ended early has its facts alone."""
    path = folder / FILE
    return path.exists() and path.stat().st_size > 0


def groups_of(runs: list[Run]) -> Groups:
    """Return runs by what they train, seeds together, worst first."""
    found: Groups = defaultdict(list)
    for run in runs:
        found[name_of(run)].append(run)
    return dict(sorted(found.items(), key=lambda group: mean_of(group[1])))


def name_of(run: Run) -> str:
    """Return what a run trains, in words."""
    if "name" in run:
        return run["name"]
    options = [f"{key} {value}" for key, value in run["options"].items()]
    if run["method"] == "zero_shot":
        return ", ".join(["nothing", *options])
    return ", ".join([run["method"], f"decoder {run['decoder']}", *options])


def mean_of(runs: list[Run]) -> float:
    """Return the mean figure over the seeds."""
    return statistics.mean(run["tuned"]["mean"] for run in runs)


def spread_of(runs: list[Run]) -> float:
    """Return the standard deviation over the seeds; 0 where there is one."""
    return statistics.stdev(r["tuned"]["mean"] for r in runs) if len(runs) > 1 else 0.0


def numbers_of(run: Run) -> int:
    """Return how many numbers a run trained; a run that trained nothing says nothing."""
    return (run["encoder_trainable"] or 0) + (run["decoder_trainable"] or 0)


def differences(runs: list[Run], others: list[Run]) -> list[float]:
    """Return by how much each run is above the other of its seed."""
    of = {run.get("seed"): run["tuned"]["mean"] for run in others}
    return [run["tuned"]["mean"] - of[run.get("seed")] for run in runs if run.get("seed") in of]


def above(values: list[float], least: float = 0.0) -> str:
    """Tell whether values are above another in the mean, by the 95 % interval of a t-test."""
    if len(values) > 1:
        low, high = ttest_1samp(values, least).confidence_interval()
        if not low <= least <= high:
            return "yes" if low > least else "no"
    return "not told apart"


def figure(values: list[float], digits: int = 2, sign: str = "") -> str:
    """Return a mean, with its deviation where there are several values."""
    text = f"{statistics.mean(values):{sign}.{digits}f}"
    return text + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
