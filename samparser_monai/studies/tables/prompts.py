"""The table of what a user's prompts are worth, see scripts/prompts.py."""

from collections.abc import Sequence
from statistics import fmean

from samparser_monai.studies.tables.bootstrap import Bootstrap, interval, told
from samparser_monai.studies.tables.runs import Run, markdown


def prompts(runs: list[Run]) -> str:
    """Return a row to a model and a prompt: DSC as clicks follow, and beside SAM as published."""
    published = next(run for run in runs if run["name"] == "SAM as published")
    first = next(iter(next(iter(published["cases"].values())).values()))
    clicks = len(next(iter(first.values()))["dsc"][0]) - 1
    after = [f"{n} click{'s' * (n > 1)}" for n in range(1, clicks + 1)]
    columns = ["what trains", "prompt", "DSC", *after, "mean over clicks", "NSD"]
    columns += [f"NSD, {clicks} clicks", "DSC over SAM as published", f"{clicks} clicks, over it"]
    rows = []
    for run in (published, *(run for run in runs if run is not published)):
        for way in first:
            shown = [_mean(run, way, "dsc", [n]) for n in range(clicks + 1)]
            shown += [_mean(run, way, "dsc", range(clicks + 1))]
            shown += [_mean(run, way, "nsd", [n]) for n in (0, clicks)]
            over = ["", ""]
            if run is not published:
                over = [_over(run, published, way, n) for n in (0, clicks)]
            rows.append([run["name"], way, *(f"{value:.1f}" for value in shown), *over])
    return markdown(columns, rows)


def _scored(run: Run, way: str, score: str, clicks: Sequence[int]) -> Run:
    """Return a run as Bootstrap takes it, organ -> case -> scores: means over some clicks."""
    scores: dict[str, dict[str, list[float]]] = {}
    for case, organs in run["cases"].items():
        for organ, ways in organs.items():
            means = [fmean(curve[n] for n in clicks) for curve in ways[way][score]]
            scores.setdefault(organ, {})[case] = means
    return {"seed": 0, "method": "", "scores": scores}


def _mean(run: Run, way: str, score: str, clicks: Sequence[int]) -> float:
    scored = _scored(run, way, score, clicks)
    return float(Bootstrap(scored["scores"]).draws([scored])[0])


def _over(run: Run, published: Run, way: str, click: int) -> str:
    one, other = (_scored(of, way, "dsc", [click]) for of in (run, published))
    return told(interval(Bootstrap(one["scores"]).draws([one], [other])), sign="+")
