"""The table of what clicks are worth, see scripts/clicks.py."""

import statistics

from samparser_monai.studies.tables.runs import Run, markdown

SINGLE = {"in the box": "a random click in the box", "on errors": "a random click on an error"}


def clicks(runs: list[Run]) -> str:
    """Return a row to a prompt, a column to a model, volume and organ."""
    found = [
        (f"{run['name']}: {case}, {organ}", figures)
        for run in runs
        for case, organs in run["cases"].items()
        for organ, figures in organs.items()
    ]
    longest = max(len(figures["curve"]) for _, figures in found)
    rows = [
        [
            f"and {n} click{'s' * (n > 1)}" if n else "a 3-D box",
            *(f"{curve[n]:.1f}" if n < len(curve := f["curve"]) else "" for _, f in found),
        ]
        for n in range(longest)
    ]
    for kind, what in SINGLE.items():
        for name, figure in (("mean", statistics.mean), ("worst", min), ("best", max)):
            told = (f"{figure(f[kind]):+.2f}" if f.get(kind) else "" for _, f in found)
            rows.append([f"{what}, {name}", *told])
    return markdown(["prompts", *(name for name, _ in found)], rows)
