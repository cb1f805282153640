"""Are SAM's own bases enough for a scenario? Read from what the harness has measured."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from samparser_monai.harness.runs import FILE, Run, read_runs

ENOUGH = 0.9
"""Coefficients are enough where they reach this share of what a richer method gains."""

RICHER = ("bases_and_coefficients", "coefficients_lora")
"""Methods that tune the coefficients and more: other bases, or new ones."""

UNSAID = {"space": "neck", "backbone": "mobile_sam"}
"""What a run has whose study does not say it."""

CELL = {"method", "decoder", "seed", "tuned", "published"}


def verdict(results: str | Path, scenario: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the coefficients alone with richer methods, in every study that has run both.

    Args:
        results: folder of the harness's results: a folder to a study.
        scenario: of the tuned part; runs of another do not count,
        options: nor do those with another decoder, space or backbone.

    Returns:
        ``enough``: True, False, or None where it is not known; ``reason``: in words and numbers;
        ``comparisons``: the numbers.

    Raises:
        InputError: the table of a study is damaged.
    """
    alike = {**options, "scenario": scenario}
    comparisons = []
    for study, cells in read_cells(results).items():
        alone = gains(cells, "coefficients", alike)
        for method in RICHER:
            richer = gains(cells, method, alike)
            if seeds := sorted(alone.keys() & richer.keys()):
                pairs = [(alone[seed], richer[seed]) for seed in seeds]
                comparisons.append({"study": study, "method": method, **compare(pairs)})
    if not comparisons:
        command = f"samparser compare --scenario {scenario} --methods all --seeds 3"
        wanted = " or ".join(RICHER)
        reason = f"not known: {results} has no runs of coefficients and of {wanted}: run {command}"
        return {"enough": None, "reason": reason, "comparisons": []}
    # a richer method that has lost on SAM as published was tuned badly, and shows nothing
    shares = [row["share"] for row in comparisons if row["share"] is not None]
    enough = all(share >= ENOUGH for share in shares) if shares else None
    remedy = {
        True: "SAM's own bases are enough here",
        False: "not enough: tune coefficients_lora",
        None: "not known: no richer method gains anything: search its encoder_rate",
    }[enough]
    reason = "; ".join([remedy, *map(_words, comparisons)])
    return {"enough": enough, "reason": reason, "comparisons": comparisons}


def compare(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the mean gains of (coefficients, a richer method) over seeds, and their difference."""
    alone, richer = (mean(gain) for gain in zip(*pairs, strict=True))
    differences = [one - other for one, other in pairs]
    return {
        "seeds": len(pairs),
        "gain": alone,
        "gain_of_richer": richer,
        "share": alone / richer if richer > 0 else None,
        "difference": mean(differences),
        "sd": stdev(differences) if len(pairs) > 1 else None,
    }


def _words(row: Mapping[str, Any]) -> str:
    share = f" ({100 * row['share']:.0f} %)" if row["share"] is not None else ""
    sd = "one seed" if row["sd"] is None else f"sd {row['sd']:.2f} over {row['seeds']} seeds"
    return (
        f"{row['study']}: coefficients alone gain {row['gain']:.2f}, {row['method']} "
        f"{row['gain_of_richer']:.2f}{share}, difference {row['difference']:+.2f}, {sd}"
    )


def read_cells(results: str | Path) -> dict[str, list[Run]]:
    """Return the runs under a folder, study -> runs; what has not a run's keys is left out."""
    folders = sorted(path.parent for path in Path(results).rglob(FILE))
    studies = {folder.name: list(read_runs(folder).values()) for folder in folders}
    return {study: [r for r in runs if r.keys() >= CELL] for study, runs in studies.items()}


def gains(cells: Iterable[Run], method: str, options: Mapping[str, Any]) -> dict[Any, float]:
    """Return seed -> gain over SAM as published.

    Of several runs of a seed, the best by a validation part of the study, where it has one.
    """
    found: dict[Any, tuple[float, float]] = {}
    for cell in cells:
        given = cell.get("given", [])
        typed = {key.removeprefix("--"): value for key, value in pairwise(given)}
        known = {**UNSAID, **typed, **cell, **cell.get("options", {})}
        same = all(known.get(key, value) == value for key, value in options.items())
        if cell["method"] == method and same:
            gain = cell["tuned"]["mean"] - cell["published"]["mean"]
            ranked = (cell.get("validation", gain), gain)
            found[cell["seed"]] = max(ranked, found.get(cell["seed"], ranked))
    return {seed: gain for seed, (_, gain) in found.items()}
