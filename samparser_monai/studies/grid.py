"""A grid of cells, run side by side: those without a result, each in a process of its own.

Every combination of method, decoder, seed and varied key is a cell: a training and an evaluation
of their own, and a line of results/STUDY/runs.jsonl. Every split of the data begins with SAM as
published, which the others are measured against. No model is chosen by the pictures that judge it:
each is that of the last epoch, and its rates are given, or chosen by a part of what trains.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import lru_cache
from multiprocessing import forkserver, get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, writable
from samparser_monai.files import read_json, sockets_fit, write_json
from samparser_monai.harness.runs import FILE, Run, read_runs, write_run
from samparser_monai.monai_command import ENVIRONMENT, command, options_of
from samparser_monai.states import differences
from samparser_monai.studies.cell import (
    Cell,
    contents_of,
    depends_on,
    end,
    folder_of,
    name_of,
    run_apart,
    told_options,
    validates,
    with_published,
)
from samparser_monai.studies.choosing import (
    OWN,
    cells,
    chosen,
    fixed_in,
    published,
    refuse_of_a_cell,
)


def to_run(grid: list[Cell], folder: Path, scenario: str, options: list[str]) -> list[Cell]:
    """Return the cells that have no result yet, each with all that it depends on.

    Raises:
        InputError: the result of a cell was made with other data or options.
    """
    contents = lru_cache(contents_of)  # the same data in every cell
    known, missing = read_runs(folder), []
    for cell in grid:
        depends = depends_on(cell, scenario, options, contents)
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

    A setting that the result's version did not have is compared only if it is given. A version
    that did not keep all of it kept the options, with paths by their names alone.
    """
    if "depends" not in result:
        return told_options(cell, result.get("given", [])), told_options(cell, options)
    before, given = result["depends"], options_of(options) | cell["options"]
    given_before = options_of(result.get("given", [])) | cell["options"]
    return (
        {key: value for key, value in before.items() if key in depends or key in given_before},
        {key: value for key, value in depends.items() if key in before or key in given},
    )


def run_grid(
    missing: list[Cell], folder: Path, scenario: str, options: list[str], jobs: int
) -> Generator[bool, None, None]:
    """Run cells and write their lines; yield for each whether it has one now.

    A cell has a process of its own, forked from one that has imported everything already. However
    this ends, their processes and their folders end with it.
    """
    os.environ |= ENVIRONMENT
    context: Any = get_context("forkserver" if sockets_fit() else "spawn")
    context.set_forkserver_preload(
        [
            "samparser_monai.studies.cell",
            *(f"samparser_monai.{s}" for s in ("pictures", "volumes", "methods")),
        ]
    )
    threads = max(1, torch.get_num_threads() // jobs)  # OMP_NUM_THREADS, or the cores
    # SAM as published comes first: the others are measured against it
    waiting = sorted(missing, key=lambda cell: cell["method"] != "zero_shot")
    running: dict[Any, tuple[BaseProcess, Cell]] = {}
    with tempfile.TemporaryDirectory(prefix="compare_", ignore_cleanup_errors=True) as temporary:
        try:
            while waiting or running:
                while waiting and len(running) < jobs and _may_begin(waiting[0], running):
                    cell = waiting.pop(0)
                    try:
                        _start_of(cell, folder, options)
                    except InputError as error:
                        yield _failed(cell, error)
                        continue
                    given = (cell, scenario, options, threads, Path(temporary, folder_of(cell)))
                    process = context.Process(target=run_apart, args=given)
                    process.start()
                    running[process.sentinel] = process, cell
                for sentinel in wait(list(running)) if running else ():
                    process, cell = running.pop(sentinel)
                    process.join()
                    yield _finish(cell, Path(temporary, folder_of(cell)), folder, options)
        finally:
            for process, _ in running.values():
                end(process.pid)
                process.join(1)


def _may_begin(cell: Cell, running: dict[int, tuple[BaseProcess, Cell]]) -> bool:
    first = any(other["method"] == "zero_shot" for _, other in running.values())
    return cell["method"] == "zero_shot" or not first


def _finish(cell: Cell, made: Path, folder: Path, options: list[str]) -> bool:
    """Write the line of a cell that has ended, or say why there is none."""
    try:
        outcome = read_json(made / "result.json") if (made / "result.json").exists() else {}
        if "result" not in outcome:
            raise InputError(outcome.get("error", "its process was ended (out of memory?)"))
        result = outcome["result"]
        start = _start_of(cell, folder, options) or result
        write_run(folder, name_of(cell), with_published(result, start))
    except InputError as error:  # the others go on
        return _failed(cell, error)
    return True


def _start_of(cell: Cell, folder: Path, options: list[str]) -> Run | None:
    """Return the run of SAM as published that a cell is measured against; None for that itself.

    Raises:
        InputError: there is none.
    """
    if cell["method"] == "zero_shot":
        return None
    start = name_of(published(cell, fixed_in(options)))
    if (run := read_runs(folder).get(start)) is None:
        raise InputError(f"it is measured against {start}, which has no result")
    return run


def _failed(cell: Cell, error: InputError) -> bool:
    tqdm.write(f"error: {name_of(cell)}: {error}", file=sys.stderr)
    return False


def compare(
    scenario: str,
    study: str | None,
    methods: Sequence[str],
    decoders: Sequence[str],
    seeds: int,
    vary: Sequence[str],
    choose: Sequence[str],
    jobs: int,
    results: Path,
    options: list[str],
    given: str,
) -> bool:
    """Run the cells that have no result yet; return whether all have one now.

    Args:
        scenario: of all cells.
        study: folder of the results; the scenario if not given.
        methods, decoders, seeds, vary: see cells.
        choose: as ``vary``, but varied by the first seed alone: see chosen.
        jobs: cells at a time, each on its share of the cores.
        results: folder of the studies.
        options: ``--key value`` of all cells.
        given: the command, for the study's ``about.json``.

    Raises:
        InputError: see cells; an unknown key, or one that is for a cell to decide; a result that
            was made otherwise; nothing to choose by; a study that is no folder's name, or that has
            other choices.
    """
    at_least(1, jobs=jobs, seeds=seeds)
    study = study or scenario
    if study in (".", "..") or Path(study).name != study:
        raise InputError(f"--study {study}: give a name without folders; --results names theirs")
    fixed = fixed_in(options)
    if choose and not (fixed and validates(options)):
        raise InputError(
            "--choose: add --validation_share 0.3, say, of what trains to choose by, and "
            "--split_seed 1, say, so that all seeds have the same parts"
        )
    varied = [*vary, *choose]
    keys = [choice.partition("=")[0] for choice in varied]
    refuse_of_a_cell(options, keys)
    grid = cells(methods, decoders, 1 if choose else seeds, varied, fixed)
    folder = writable("results", results / study)
    known = set().union(*(OWN[cell["method"]] for cell in grid))
    # unknown keys are told before anything runs
    command(
        [
            "evaluating",
            "--scenario",
            scenario,
            *options,
            *(f"--{k}=" for k in keys if k not in known),
        ]
    )
    missing = to_run(grid, folder, scenario, options)
    tried = keys[len(vary) :]
    write_about(folder, given, keys[: len(vary)], tried)
    done = _run_all(grid, missing, folder, scenario, options, jobs)
    if choose:
        rest = chosen(grid, folder, tried, seeds)
        missing = to_run(rest, folder, scenario, options)
        done += _run_all(rest, missing, folder, scenario, options, jobs)
        grid += rest
    print(f"{done} of {len(grid)} cells in {folder}; now `samparser tables`")
    return done == len(grid)


def write_about(folder: Path, command: str, varied: Sequence[str], tried: Sequence[str]) -> None:
    """Write what a study is, or anew where it has no runs; else only what it chooses by now.

    Args:
        folder: of the study.
        command: that begins it.
        varied: keys that all seeds vary.
        tried: keys that the first seed varies, see chosen.

    Raises:
        InputError: the study chooses a varied key, or has runs that say nothing to choose by.
    """
    path, runs = folder / "about.json", read_runs(folder)
    begun = path.exists() and bool(runs)
    about = {"title": folder.name, "facts": {}} | (read_json(path) if path.exists() else {})
    if not begun:
        about |= {"command": command, "choose": []}
    before = about.pop("choose", [])
    if both := [key for key in varied if key in before]:
        raise InputError(
            f"--vary {both[0]}: {folder.name} chooses it; give --choose, or another --study"
        )
    new = [key for key in tried if key not in before]
    if new and any("validation" not in run for run in runs.values()):
        raise InputError(
            f"--choose {new[0]}: {folder / FILE} has runs without a validation part, by which it "
            "would be chosen; give another --study"
        )
    if new and begun:
        print(f"{folder.name}: its tables tell {', '.join(new)} as chosen now", file=sys.stderr)
    if new or not begun:
        write_json(path, about | ({"choose": [*before, *new]} if before or new else {}))


def _run_all(
    grid: list[Cell],
    missing: list[Cell],
    folder: Path,
    scenario: str,
    options: list[str],
    jobs: int,
) -> int:
    """Run what is missing of a grid; return how many of its cells have a result now."""
    done = len(grid) - len(missing)
    runs = run_grid(missing, folder, scenario, options, jobs)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores the first
        signal.signal(number, signal.default_int_handler)
    try:
        with closing(runs):
            bar = tqdm(runs, total=len(grid), initial=done, unit="cell", desc=folder.name)
            return done + sum(bar)
    except KeyboardInterrupt:
        told = f"interrupted: the cells that are finished stay in {folder}"
        print(told, file=sys.stderr, flush=True)
        server: Any = forkserver._forkserver
        end(server._forkserver_pid)  # it, and torch here, would take their time
        os._exit(130)
