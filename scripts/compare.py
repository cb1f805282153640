"""Train and evaluate methods side by side, each through the shipped configs.

    python scripts/compare.py [--scenario abdomen_ct] [--methods all|NAME ...]
        [--decoder tuned coefficients frozen] [--seeds 3] [--vary KEY=VALUE,VALUE ...]
        [--study NAME] [--jobs 1] [--key value ...]

Every combination of method, decoder, seed and varied key is a cell: a training and an evaluation
of their own, and a file results/STUDY/run_CELL.json. A key that some methods alone have, `--vary
rank=4,8` say, varies those. A study has the scenario's name unless it is given another. Cells that
have their file are not run again, so a study goes on where it was ended.
Every seed begins with SAM as published, which the others are measured against. No model is chosen
by the pictures that judge it: each is that of the last epoch. `--jobs N` runs N cells at a time on
their share of the cores. Other keys go to every cell, `--dataset_dir DIR` say.
`python scripts/make_tables.py` makes the page and the pictures of it.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from cell import Cell, name_of, run_cell, with_published
from run import ENVIRONMENT, command
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown, writable
from samparser_monai.report import write_json

METHODS = sorted(path.stem for path in Path("configs", "methods").glob("*.json"))
DECODERS = ("tuned", "coefficients", "frozen")
TRAINING = {
    *("coefficient_rate", "decoder_coefficient_rate", "decoder_rate", "encoder_rate", "step"),
    *("space", "epochs", "train_size", "batch_size", "max_instances", "focal", "weight_decay"),
}
"""Keys that SAM as published does not depend on; any other that is varied gives it other cells."""
OWN = {
    method: json.loads(Path("configs", "methods", f"{method}.json").read_text()).keys()
    - json.loads(Path("configs", "train.json").read_text()).keys()
    for method in METHODS
}
"""The options of each method alone: varied, they give cells to the methods that have them."""
OPTIONS = set().union(*OWN.values())


def cells(arguments: argparse.Namespace) -> list[Cell]:
    """Return what distinguishes each cell of the grid, those of SAM as published first.

    Raises:
        InputError: an unknown method or decoder, or a varied key without values.
    """
    methods = METHODS if arguments.methods == ["all"] else arguments.methods
    for what, names, known in (
        ("method", methods, METHODS),
        ("decoder", arguments.decoder, DECODERS),
    ):
        for name in names:
            if name not in known:
                raise unknown(what, name, known)
    at_least(1, seeds=arguments.seeds, jobs=arguments.jobs)
    varied = [choice.partition("=") for choice in arguments.vary]
    for key, _, values in varied:
        if not all(values.split(",")):
            raise InputError(f"--vary {key}: write KEY=VALUE,VALUE")
    found: list[Cell] = []
    for method, decoder, seed, *values in itertools.product(
        methods,
        arguments.decoder,
        range(arguments.seeds),
        *(values.split(",") for _, _, values in varied),
    ):
        if method == "decoder_only" and decoder == "frozen":
            decoder = "tuned"  # with a frozen decoder there is nothing to tune
        options = {
            key: value
            for (key, _, _), value in zip(varied, values, strict=True)
            if key in OWN[method] or key not in OPTIONS
        }
        cell = {"method": method, "decoder": decoder, "seed": seed, "options": options}
        if method == "zero_shot":
            cell = published(cell)
        if cell not in found:
            found.append(cell)
    first = [published(cell) for cell in found]
    return [cell for n, cell in enumerate(first) if cell not in first[:n]] + [
        cell for cell in found if cell not in first
    ]


def published(cell: Cell) -> Cell:
    """Return the cell of SAM as published that another is measured against.

    It has the other's seed, by which a scenario may split its pictures.
    """
    options = {k: v for k, v in cell["options"].items() if k not in TRAINING | OPTIONS}
    return {"method": "zero_shot", "decoder": "frozen", "seed": cell["seed"], "options": options}


def run_grid(
    grid: list[Cell], folder: Path, scenario: str, options: list[str], jobs: int
) -> Iterator[bool]:
    """Run the cells that have no file yet and write it; yield for each whether it has one now.

    A cell has a process of its own, forked from one that has imported everything already.
    """
    os.environ |= ENVIRONMENT
    context = get_context("forkserver")
    context.set_forkserver_preload(["cell", "samparser_monai.data", "samparser_monai.methods"])
    threads = max(1, (os.cpu_count() or 1) // jobs)
    files = {name_of(cell): folder / f"run_{name_of(cell)}.json" for cell in grid}
    missing = [cell for cell in grid if not files[name_of(cell)].exists()]
    yield from [True] * (len(grid) - len(missing))
    first = [cell for cell in missing if cell["method"] == "zero_shot"]
    pool = ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1)
    try:
        for part in (first, missing[len(first) :]):
            futures = {pool.submit(run_cell, c, scenario, options, threads): c for c in part}
            for future in as_completed(futures):
                cell = futures[future]
                try:
                    result = future.result()
                    start = files[name_of(published(cell))]
                    known = json.loads(start.read_text()) if part is not first else result
                    write_json(files[name_of(cell)], with_published(result, known))
                except Exception as error:  # the others go on
                    tqdm.write(f"error: {name_of(cell)}: {error}", file=sys.stderr)
                yield files[name_of(cell)].exists()
    finally:
        pool.shutdown(cancel_futures=True)  # where it is interrupted: those that have not begun


def main() -> int:
    """Run the cells that have no result yet; return 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default="abdomen_ct")
    parser.add_argument("--study", help="folder of the results; the scenario if not given")
    parser.add_argument("--methods", nargs="+", default=["all"])
    parser.add_argument("--decoder", nargs="+", default=["tuned"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vary", nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments, options = parser.parse_known_args()
    try:
        grid = cells(arguments)
        study = arguments.study or arguments.scenario
        folder = writable("results", arguments.results / study)
        known = set().union(*(OWN[cell["method"]] for cell in grid))
        keys = [choice.partition("=")[0] for choice in arguments.vary]
        varied = [f"--{key}=" for key in keys if key not in known]
        command(
            ["evaluating", "--scenario", arguments.scenario, *options, *varied]
        )  # unknown keys are told before anything runs
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not (folder / "about.json").exists():
        given = "python " + " ".join(sys.argv)
        write_json(folder / "about.json", {"title": study, "facts": {}, "command": given})
    runs = run_grid(grid, folder, arguments.scenario, options, arguments.jobs)
    try:
        done = sum(tqdm(runs, total=len(grid), unit="cell", desc=study))
    except KeyboardInterrupt:
        print(f"interrupted: the cells that are finished stay in {folder}", file=sys.stderr)
        return 130
    print(f"{done} of {len(grid)} cells in {folder}; now scripts/make_tables.py")
    return int(done < len(grid))


if __name__ == "__main__":
    sys.exit(main())
