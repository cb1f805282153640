"""The section of a study in docs/reference/results.md, and its picture."""

import json
import statistics
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from samparser_monai.studies.choosing import setting_of
from samparser_monai.studies.tables import paired
from samparser_monai.studies.tables.clicks import clicks
from samparser_monai.studies.tables.prompts import prompts
from samparser_monai.studies.tables.runs import (
    RESULTS,
    Groups,
    Run,
    differences,
    figure,
    groups_of,
    has_runs,
    markdown,
    mean_of,
    numbers_of,
    runs_of,
    spread_of,
)

STYLES = ("dashed", "dotted", "dashdot")
COSTS = {"images_a_second": "images a second", "peak_memory_gb": "peak memory, GB"}


def studies() -> list[Path]:
    """Return the folders of the studies that have runs, but for those with a page of their own."""
    abouts = [path for path in sorted(RESULTS.glob("*/about.json")) if has_runs(path.parent)]
    return [path.parent for path in abouts if "page" not in json.loads(path.read_text())]


def section_of(folder: Path) -> str:
    """Return the section of a study."""
    about = json.loads((folder / "about.json").read_text())
    text = "".join(f"- {key}: {value}\n" for key, value in about["facts"].items())
    if kind := about.get("table"):
        table = {"few_prompts": few_prompts, "clicks": clicks, "prompts": prompts}[kind](
            runs_of(folder)
        )
    elif "choose" in about:
        table = paired.section_of(folder, about)
    else:
        picture = f"\n\n![quality against numbers trained](results_{folder.name}.png)"
        table = table_of(groups_of(runs_of(folder))) + picture
    return f"\n## {about['title']}\n\n{text}\n{table}\n\n    {about['command']}\n"


def table_of(groups: Groups) -> str:
    """Return the table of a study: a row to each group."""
    first = next(iter(groups.values()))[0]
    measures = {name: ("tuned", name) for name in first["tuned"]}
    if "f1" in first:  # instances: boxes of three kinds say more than the categories
        own = next(shift for shift in first["f1"]["tuned"] if shift not in ("0", "50"))
        measures = {"mIoU": ("tuned", "mean"), "F1": ("f1", own)}
        measures |= {"mIoU, tight boxes": ("miou", "0"), "mIoU, 0 to 50 px": ("miou", "50")}
    if "volumes" in first:
        measures["mean 3-D"] = ("volumes", "mean")
    costs = [key for key in COSTS if any(run.get(key) for g in groups.values() for run in g)]
    columns = ["what trains", "seeds", "numbers", *measures]
    columns += ["over decoder only", *map(COSTS.get, costs)]
    rows = []
    if not any(name.startswith("nothing") for name in groups):
        published = [figure([_value(first, "published", at)]) for at in measures.values()]
        empty = [""] * (1 + len(costs))
        rows.append(["nothing (SAM as published)", "", "0", *published, *empty])
    for name, runs in groups.items():
        figures = [figure([_value(run, "tuned", at) for run in runs]) for at in measures.values()]
        baseline = best_decoder_only(groups, runs)
        gain = differences(runs, baseline)
        prices = [
            figure(p) if (p := [run[key] for run in runs if run[key]]) else "" for key in costs
        ]
        counts = [str(len(runs)), f"{numbers_of(runs[0]):,}"]
        over = figure(gain, sign="+") if gain and runs is not baseline else ""
        rows.append([name, *counts, *figures, over, *prices])
    return markdown(columns, rows)


def best_decoder_only(groups: Groups, beside: list[Run]) -> list[Run]:
    """Return the runs of the tuned decoder alone, at its best in the setting of other runs.

    None where there are none.
    """
    found = [
        runs
        for name, runs in groups.items()
        if name.startswith(("decoder only", "decoder_only, decoder tuned"))
        and _setting(runs) == _setting(beside)
    ]
    return max(found, key=mean_of, default=[])


def _setting(runs: list[Run]) -> tuple[str, ...]:
    """Return what SAM as published depends on too, in words."""
    options = setting_of(runs[0].get("options", {}))
    return tuple(f"{key} {value}" for key, value in sorted(options.items()))


def _value(run: Run, model: str, at: tuple[str, str]) -> float:
    section, name = at
    return run[model][name] if section == "tuned" else run[section][model][name]


def few_prompts(runs: list[Run]) -> str:
    """Return the table of what few prompts make of volumes, see scripts/propagation.py.

    Runs of one name differ by their seed: their mean and standard deviation.
    """
    keys = {
        (run["name"], case, organ): None
        for run in runs
        for case in run["cases"]
        for organ in _organs(run, case)
    }
    columns = ["prompts", *(f"{name}: {case}, {organ}" for name, case, organ in keys)]
    ways = {way: None for run in runs for case in run["cases"].values() for way in case}
    rows = [[way, *(_over_seeds(runs, *key, way) for key in keys)] for way in ways]
    return markdown(columns, rows)


def _over_seeds(runs: list[Run], name: str, case: str, organ: str, way: str) -> str:
    """Return the figure of an organ and a way, nothing where it was not measured."""
    cases = [run["cases"].get(case, {}) for run in runs if run["name"] == name]
    found = [of[way][organ] for of in cases if organ in of.get(way, {})]
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.1f}{spread}" if found else ""


def _organs(run: Run, case: str) -> list[str]:
    return list(next(iter(run["cases"][case].values())))


def draw(groups: Groups, path: Path) -> None:
    """Draw the figure of each group over the numbers it trains and the time it took."""
    sides: dict[str, Callable] = {"numbers trained": lambda runs: numbers_of(runs[0])}
    if all("images_a_second" in run for runs in groups.values() for run in runs):
        sides["minutes of training"] = _minutes
    size = (5 + 3 * len(sides), 4.5)
    figure_, axes = plt.subplots(
        1, len(sides), figsize=size, layout="constrained", sharey=True, squeeze=False
    )
    starts: dict[tuple[str, ...], float] = {}
    for runs in groups.values():
        starts.setdefault(_setting(runs), runs[0]["published"]["mean"])
    if len(set(starts.values())) == 1:
        starts = {(): starts.popitem()[1]}
    for marker, (name, runs) in zip("osD^v<>pP*Xhd" * 9, groups.items(), strict=False):
        if numbers_of(runs[0]):
            spread = spread_of(runs)
            for axis, x in zip(axes[0], sides.values(), strict=True):
                axis.errorbar(x(runs), mean_of(runs), spread, marker=marker, capsize=3, label=name)
    for axis, text in zip(axes[0], sides, strict=True):
        for (setting, published), style in zip(starts.items(), cycle(STYLES), strict=False):
            label = ", ".join(["SAM as published", *setting])
            axis.axhline(published, color="gray", linestyle=style, label=label)
        axis.set(xscale="log", xlabel=text)
    axes[0, 0].set_ylabel("mean (%)")
    figure_.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure_.savefig(path, dpi=100)
    plt.close(figure_)


def _minutes(runs: list[Run]) -> float:
    return statistics.mean(run["seconds"] or 0 for run in runs) / 60
