"""Which cells a study has: what is combined, what the first seed tries, what the others take."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from samparser_monai.errors import InputError, at_least, unknown
from samparser_monai.harness.runs import Run, read_runs
from samparser_monai.monai_command import asked_in, options_of, overlays
from samparser_monai.studies.cell import TRAINING, Cell, name_of, validates

METHODS = list(overlays("method"))
DECODERS = ("tuned", "coefficients", "frozen")
OWN = {method: asked_in(path) for method, path in overlays("method").items()}
"""What each method's overlay asks for: varied, it gives cells to the methods that do."""
OPTIONS = set().union(*OWN.values())
OF_A_CELL = {
    **{"method": "--methods", "decoder": "--decoder", "seed": "--seeds", "scenario": "--scenario"},
    **dict.fromkeys(["output_dir", "ckpt_dir", "model_file", "tuned", "part", "with_published"]),
}
"""Keys that a cell gives itself -> the option by which the study decides them, if there is one."""
NEVER_VARIED = OF_A_CELL | dict.fromkeys(["val_interval", "pictures"])


def cells(
    methods: Sequence[str],
    decoders: Sequence[str],
    seeds: int,
    vary: Sequence[str],
    fixed: bool = False,
) -> list[Cell]:
    """Return what distinguishes each cell of the grid, those of SAM as published first.

    Args:
        methods: their names; ``all`` for every one.
        decoders: tuned, coefficients, frozen.
        seeds: how many.
        vary: ``KEY=VALUE,VALUE``; a key that some methods alone have varies those.
        fixed: all seeds split the data alike, see published.

    Raises:
        InputError: an unknown method or decoder, or a varied key without values or twice.
    """
    methods = METHODS if list(methods) == ["all"] else methods
    for what, names, known in (
        ("method", methods, METHODS),
        ("decoder", decoders, DECODERS),
    ):
        for name in names:
            if name not in known:
                raise unknown(what, name, known)
    at_least(1, seeds=seeds)
    varied: dict[str, list[str]] = {}
    for key, _, values in (choice.partition("=") for choice in vary):
        if key in varied:
            raise InputError(f"--vary {key}: it is varied twice; give all its values at once")
        varied[key] = values_of(values)
        if not all(varied[key]):
            raise InputError(f"--vary {key}: write KEY=VALUE,VALUE")
    found: list[Cell] = []
    choices = itertools.product(*varied.values())
    for (method, decoder, seed), chosen in itertools.product(
        itertools.product(methods, decoders, range(seeds)), list(choices)
    ):
        if method == "decoder_only" and decoder == "frozen":
            decoder = "tuned"  # with a frozen decoder there is nothing to tune
        options = {
            key: value
            for key, value in zip(varied, chosen, strict=True)
            if key in OWN[method] or key not in OPTIONS
        }
        cell = {"method": method, "decoder": decoder, "seed": seed, "options": options}
        if method == "zero_shot":
            cell = published(cell, fixed)
        if cell not in found:
            found.append(cell)
    first = [published(cell, fixed) for cell in found]
    return [cell for n, cell in enumerate(first) if cell not in first[:n]] + [
        cell for cell in found if cell not in first
    ]


def values_of(text: str) -> list[str]:
    """Return what commas part, but for those in brackets: a value may be a list."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            values.append("")
        else:
            values[-1] += letter
    return values


def refuse_of_a_cell(options: list[str], varied: Sequence[str]) -> None:
    """Raise an InputError where options of all cells, or varied keys, are for a cell to decide.

    What trains is judged as its last epoch left it: a validation within needs a part of its own,
    unless it is that of the last epoch alone.
    """
    given = options_of(options)
    for key in varied:
        if key in NEVER_VARIED:
            raise _of_a_cell(f"--vary {key}", NEVER_VARIED[key])
    for key, value in given.items():
        if key in varied:
            raise InputError(f"--{key} {value}: {key} is varied too; leave one of the two out")
        if key in OF_A_CELL:
            raise _of_a_cell(f"--{key} {value}", OF_A_CELL[key])
    interval = given.get("val_interval")
    if interval not in (None, "0", given.get("epochs")) and not validates(options):
        raise InputError(
            f"--val_interval {interval}: what judges the cells would choose their epoch too; leave "
            "it out, or add --validation_share 0.3, say, of what trains to choose by"
        )


def _of_a_cell(what: str, instead: str | None) -> InputError:
    remedy = f"give {instead} in its place" if instead else "leave it out"
    return InputError(f"{what}: each cell of a study has its own; {remedy}")


def chosen(grid: list[Cell], folder: Path, keys: Sequence[str], seeds: int) -> list[Cell]:
    """Return the cells of the other seeds: of what was tried with the first, what validated best.

    Args:
        grid: of the first seed.
        folder: of the study; a cell without a result is none that can be chosen.
        keys: that were tried.
        seeds: how many, the first among them.
    """
    runs = read_runs(folder)
    best: dict[str, Cell] = {}
    for cell in grid:
        others = {key: value for key, value in cell["options"].items() if key not in keys}
        alike = name_of({**cell, "options": others})
        if (
            cell["method"] != "zero_shot"
            and name_of(cell) in runs
            and (alike not in best or _validated(runs, cell) > _validated(runs, best[alike]))
        ):
            best[alike] = cell
    return [{**cell, "seed": seed} for seed in range(1, seeds) for cell in best.values()]


def _validated(runs: dict[str, Run], cell: Cell) -> float:
    return runs[name_of(cell)].get("validation", 0.0)


def published(cell: Cell, fixed: bool = False) -> Cell:
    """Return the cell of SAM as published that another is measured against.

    It has the other's seed, by which a scenario may split its pictures; where the split is fixed
    the first seed's is that of all.
    """
    seed, options = 0 if fixed else cell["seed"], setting_of(cell["options"])
    return {"method": "zero_shot", "decoder": "frozen", "seed": seed, "options": options}


def setting_of(options: dict[str, str]) -> dict[str, str]:
    """Return the varied options that SAM as published depends on: others than those of training.

    Cells of other settings do not compare.
    """
    return {key: value for key, value in options.items() if key not in TRAINING | OPTIONS}


def fixed_in(options: list[str]) -> bool:
    """Tell whether options of all cells fix the split of the data."""
    return "split_seed" in options_of(options)
