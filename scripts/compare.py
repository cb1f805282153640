"""Train and evaluate methods side by side, each through the shipped configs.

    python scripts/compare.py [--scenario abdomen_ct] [--methods all|NAME ...]
        [--decoder tuned coefficients frozen] [--seeds 3] [--vary KEY=VALUE,VALUE ...]
        [--study NAME] [--jobs 1] [--key value ...]

Every combination of method, decoder, seed and varied key is a cell: a training and an evaluation
of their own, and a line of results/STUDY/runs.jsonl. A key that some methods alone have, `--vary
rank=4,8` say, varies those. A study has the scenario's name unless it is given another. Cells that
have their line are not run again, so a study goes on where it was ended; one that was made with
other data or options is an error, which says what differs.
Every seed begins with SAM as published, which the others are measured against. No model is chosen
by the pictures that judge it: each is that of the last epoch. `--jobs N` runs N cells at a time on
their share of the cores. Other keys go to every cell, `--dataset_dir DIR` say.
`python scripts/make_tables.py` makes the page and the pictures of it.
"""

import argparse
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from multiprocessing import forkserver, get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cell import (
    TRAINING,
    Cell,
    depends_on,
    end,
    name_of,
    run_apart,
    told_options,
    with_published,
)
from run import ENVIRONMENT, command
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown, writable
from samparser_monai.files import read_json, sockets_fit, write_json
from samparser_monai.harness.runs import FILE, read_runs, write_run
from samparser_monai.training.resuming import differences, states_of

METHODS = sorted(path.stem for path in Path("configs", "methods").glob("*.json"))
DECODERS = ("tuned", "coefficients", "frozen")
OWN = {
    method: read_json(Path("configs", "methods", f"{method}.json")).keys()
    - read_json(Path("configs", "train.json")).keys()
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


def to_run(grid: list[Cell], folder: Path, scenario: str, options: list[str]) -> list[Cell]:
    """Return the cells that have no result yet, each with all that it depends on.

    Raises:
        InputError: the result of a cell was made with other data or options.
    """
    state = lru_cache(states_of)  # the same data in every cell
    known, missing = read_runs(folder), []
    for cell in grid:
        depends = depends_on(cell, scenario, options, state)
        name = name_of(cell)
        if name not in known:
            missing.append({**cell, "depends": depends})
        elif differs := differences(*_comparable(known[name], depends, cell, options)):
            raise InputError(
                f"{name} in {folder / FILE} was made otherwise: {differs}; give another --study, "
                "or take its line out"
            )
    return missing


def _comparable(
    result: Cell, depends: dict[str, Any], cell: Cell, options: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a result tells of what it depends on, and the same of a cell that has it.

    A version that did not keep all of it kept the options, with paths by their names alone.
    """
    if "depends" in result:
        return result["depends"], depends
    return told_options(cell, result.get("given", [])), told_options(cell, options)


def run_grid(
    missing: list[Cell], folder: Path, scenario: str, options: list[str], jobs: int
) -> Iterator[bool]:
    """Run cells and write their lines; yield for each whether it has one now.

    A cell has a process of its own, forked from one that has imported everything already. However
    this ends, their processes and their folders end with it.
    """
    os.environ |= ENVIRONMENT
    context = get_context("forkserver" if sockets_fit() else "spawn")
    context.set_forkserver_preload(
        ["cell", *(f"samparser_monai.{s}" for s in ("pictures", "volumes", "methods"))]
    )
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # SAM as published comes first: the others are measured against it
    waiting = sorted(missing, key=lambda cell: cell["method"] != "zero_shot")
    running: dict[int, tuple[BaseProcess, Cell]] = {}
    with tempfile.TemporaryDirectory(prefix="compare_", ignore_cleanup_errors=True) as temporary:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and _may_begin(waiting[0], running):
                    cell = waiting.pop(0)
                    given = (cell, scenario, options, threads, Path(temporary, name_of(cell)))
                    process = context.Process(target=run_apart, args=given)
                    process.start()
                    running[process.sentinel] = process, cell
                for sentinel in wait(list(running)):
                    process, cell = running.pop(sentinel)
                    process.join()
                    yield _finish(cell, folder, Path(temporary, name_of(cell)))
        finally:
            for process, _ in running.values():
                end(process.pid)
                process.join(1)


def _may_begin(cell: Cell, running: dict[int, tuple[BaseProcess, Cell]]) -> bool:
    first = any(other["method"] == "zero_shot" for _, other in running.values())
    return cell["method"] == "zero_shot" or not first


def _finish(cell: Cell, folder: Path, made: Path) -> bool:
    """Write the line of a cell that has ended, or say why there is none."""
    try:
        outcome = read_json(made / "result.json") if (made / "result.json").exists() else {}
        if "result" not in outcome:
            raise InputError(outcome.get("error", "its process was ended (out of memory?)"))
        result = start = outcome["result"]
        if cell["method"] != "zero_shot":
            name = name_of(published(cell))
            if (start := read_runs(folder).get(name)) is None:
                raise InputError(f"it is measured against {name}, which has no result")
        write_run(folder, name_of(cell), with_published(result, start))
    except InputError as error:  # the others go on
        tqdm.write(f"error: {name_of(cell)}: {error}", file=sys.stderr)
        return False
    return True


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
        missing = to_run(grid, folder, arguments.scenario, options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not (folder / "about.json").exists():
        given = "python " + " ".join(sys.argv)
        write_json(folder / "about.json", {"title": study, "facts": {}, "command": given})
    done = len(grid) - len(missing)
    runs = run_grid(missing, folder, arguments.scenario, options, arguments.jobs)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores the first
        signal.signal(number, signal.default_int_handler)
    try:
        with closing(runs):
            done += sum(tqdm(runs, total=len(grid), initial=done, unit="cell", desc=study))
    except KeyboardInterrupt:
        told = f"interrupted: the cells that are finished stay in {folder}"
        print(told, file=sys.stderr, flush=True)
        end(forkserver._forkserver._forkserver_pid)  # it, and torch here, would take their time
        os._exit(130)
    print(f"{done} of {len(grid)} cells in {folder}; now scripts/make_tables.py")
    return int(done < len(grid))


if __name__ == "__main__":
    sys.exit(main())
