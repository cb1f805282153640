"""One cell of a comparison: a training and an evaluation by the shipped configs, and its result."""

import ast
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import pandas as pd
import torch
from monai.bundle import ConfigParser

import samparser_monai
from samparser_monai.errors import root_cause
from samparser_monai.fetch import sha256_of
from samparser_monai.files import read_json, write_json
from samparser_monai.monai_command import command, options_of
from samparser_monai.sam.checkpoints import WEIGHTS
from samparser_monai.states import files_at

PACKAGES = ("monai", "torch", "segment-anything", "samparser-monai")
OF_THE_MACHINE = {
    *("bundle_root", "output_dir", "ckpt_dir", "cache_dir", "cache_limit_gb", "fill_batch_size"),
    *("device", "rank", "num_workers", "one_line_errors", "apart", "before_training"),
    *("before_evaluating", "tracked", "run", "training", "evaluating", "resume", "settings"),
    *("manifest", "part"),
}
"""Keys that no result depends on."""
TRAINING = {
    *("coefficient_rate", "decoder_coefficient_rate", "decoder_rate", "encoder_rate"),
    *("rate_factor", "step"),
    *("space", "epochs", "train_size", "batch_size", "max_instances", "focal", "weight_decay"),
    *("tight_share", "click_share"),
}
"""Keys that SAM as published does not depend on; any other that is varied gives it other cells."""
PATHS = {
    *("dataset_dir", "images", "masks", "annotations", "checkpoint"),
    *("val_images", "val_masks", "val_annotations"),
}
"""Keys whose value is a path, also without a slash; a method may have the name of a folder."""
LONGEST = 50
"""Letters of a folder's name, of four bytes at most."""
Cell = dict[str, Any]


def name_of(cell: Cell) -> str:
    """Return a file name for a cell."""
    options = [f"{key}={value}" for key, value in cell["options"].items()]
    parts = [cell["method"], cell["decoder"], *options, f"seed={cell['seed']}"]
    return "_".join(parts).replace("/", "-")


def folder_of(cell: Cell) -> str:
    """Return the name of a cell's folder: one has 255 bytes at most, and a value may be long."""
    name = name_of(cell)
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}_{_digest(name)}"


def arguments_of(cell: Cell, scenario: str, folder: Path) -> list[str]:
    """Return the arguments of a cell's runs, beside those of all cells."""
    given = {
        "method": cell["method"],
        "decoder": cell["decoder"],
        "seed": 2023 + cell["seed"],
        **cell["options"],
        "scenario": scenario,
        "output_dir": folder / "eval",
        "ckpt_dir": folder / "models",
        "val_interval": 0,  # the last epoch's model is kept: nothing is chosen by the judge
        "with_published": False,
        "pictures": 0,
    }
    return [part for key, value in given.items() for part in (f"--{key}", str(value))]


def depends_on(
    cell: Cell, scenario: str, options: list[str], contents: Callable[[Path], list[Any]]
) -> dict[str, Any]:
    """Return all that a cell's result depends on: the code's version, its settings, its files.

    How the configurations wire their parts together is of the version.

    Args:
        cell, scenario, options: see run_cell.
        contents: of the files at a path, see contents_of.
    """
    parts = arguments_of(cell, scenario, Path())
    _, _, _, files, *chosen = command(["evaluating", *parts, *options], ignore=True)
    parser = ConfigParser()
    parser.read_config(ast.literal_eval(files))
    given = {key: _literal(value) for key, value in options_of(chosen).items()}
    own, defaults = parser.config, parser.config["defaults"]
    own["defaults"] = {key: value for key, value in defaults.items() if not _wired({key: value})}
    keys = {key: value for key, value in own.items() if not _wired(value)} | given
    left_out = OF_THE_MACHINE | (TRAINING if cell["method"] == "zero_shot" else set())
    if not keys.get("names"):  # how names are asked is nothing to those who are not
        left_out |= {key for key in keys if key.startswith("name_")}
    told = {key: str(value) for key, value in keys.items() if key not in left_out}
    for key, value in told.items():
        if (key in PATHS or os.sep in value) and os.path.exists(value):
            told[key] = f"files {_digest(contents(Path(value)))}"
        elif len(value) > 80:  # of a configuration
            told[key] = _digest(value)
    backbone = given.get("backbone", defaults["backbone"])
    if source := WEIGHTS.get(backbone):
        told["weights"] = source.sha256
    return {"version": samparser_monai.__version__, **told}


def _wired(value: Any) -> bool:
    """Tell whether a value of a configuration is no setting but an object, or refers to others."""
    return re.search(r'"[$@%]|_target_"', json.dumps(value)) is not None


def contents_of(path: Path) -> list[Any]:
    """Return the name and hash of each file at a path: a copy has those of what it was made of."""
    return [[os.path.relpath(file, path), sha256_of(file)] for file in files_at(path)]


def _literal(value: str | None) -> Any:
    try:
        return ast.literal_eval(value or "None")
    except (SyntaxError, ValueError):
        return value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def without_folders(options: list[str]) -> list[str]:
    """Return options with paths by their names alone: a result tells nothing of its machine."""
    return [Path(option).name if Path(option).exists() else option for option in options]


def told_options(cell: Cell, options: list[str]) -> dict[str, str | None]:
    """Return the options, as a result tells them, that the cell depends on."""
    told = options_of(without_folders(options))
    left_out = OF_THE_MACHINE | (TRAINING if cell["method"] == "zero_shot" else set())
    return {key: value for key, value in told.items() if key not in left_out}


def run_apart(cell: Cell, scenario: str, options: list[str], threads: int, folder: Path) -> None:
    """Run a cell and leave ``result.json`` in its folder, with its result or its error.

    The process leads a group of its own, which ends when the one that began it has.
    """
    os.setpgid(0, 0)
    parent = parent_process()
    assert parent is not None, "a cell runs in a process of its own"
    threading.Thread(target=_end_with, args=[parent.sentinel], daemon=True).start()
    folder.mkdir()
    try:
        outcome: dict[str, Any] = {"result": run_cell(cell, scenario, options, threads, folder)}
    except Exception as error:
        outcome = {"error": str(error)}
    write_json(folder / "result.json", outcome)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(0, signal.SIGKILL)


def end(leader: int | None) -> None:
    """End a cell's process, with what it has begun."""
    if leader:
        for kill in (os.killpg, os.kill):  # it may have no group yet
            with suppress(ProcessLookupError):
                kill(leader, signal.SIGKILL)


def run_cell(cell: Cell, scenario: str, options: list[str], threads: int, folder: Path) -> Cell:
    """Train and evaluate one cell, in a process of its own, and return its result.

    Args:
        cell: method, decoder, seed and the options that are varied.
        scenario: of all cells.
        options: of all cells, as on the command line.
        threads: of this process.
        folder: for what the runs write.

    Raises:
        InputError: what a run has refused.
    """
    torch.set_num_threads(threads)
    parts = [*arguments_of(cell, scenario, folder), *options]
    begun = time.monotonic()
    if cell["method"] != "zero_shot":
        _run("training", parts, folder)
    chooses = _chooses(folder, parts)
    _run("evaluating", [*parts, "--part", "test"], folder)
    taken = time.monotonic() - begun
    summary = read_json(folder / "eval" / "summary.json")
    rows = read_json(folder / "eval" / "metrics.json")
    seconds = summary.get("seconds")
    return {
        **cell,
        "scenario": scenario,
        "given": without_folders(options),
        **chooses,
        **summary,
        "images_a_second": summary["steps"] / seconds if seconds else None,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "wall_seconds": taken,
        "threads": threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "revision": _git("describe", "--always", "--dirty"),
        "cases": rows,
        "scores": scores_in(folder / "eval"),
    }


def validates(options: list[str]) -> bool:
    """Tell whether part of what trains validates; what the share may be is checked by the run."""
    return options_of(options).get("validation_share") not in (None, "0", "0.0")


def _chooses(folder: Path, parts: list[str]) -> dict[str, float]:
    """Return what the validation part says, by which a study may choose; nothing without one."""
    if not validates(parts):
        return {}
    output = folder / "validation"
    own = ("--part", "validation", "--output_dir", str(output), "--box_shifts", "[]")
    _run("evaluating", [*parts, *own], folder)
    return {"validation": read_json(output / "summary.json")["tuned"]["mean"]}


def scores_in(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return what an evaluation scored of each case, by which runs are compared in pairs.

    Of volumes organ -> case -> [3-D DSC]; of pictures "all" -> picture -> IoU of its instances.
    """
    found: dict[str, dict[str, list[float]]] = {}
    pictures = folder / "instances.csv"
    table = pd.read_csv(pictures if pictures.exists() else folder / "metrics.csv")
    groups = ["all"] * len(table) if pictures.exists() else table["organ"]
    scores = table["iou" if pictures.exists() else "dsc"].round(2)
    for group, case, score in zip(groups, table["case"].astype(str), scores, strict=True):
        found.setdefault(group, {}).setdefault(case, []).append(score)
    return found


def _run(run_id: str, parts: list[str], folder: Path) -> None:
    """Run a command of monai.bundle in this process; what it prints goes to a file."""
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            fire.Fire({"run": monai.bundle.run}, command=command([run_id, *parts], ignore=True))
        except Exception as error:
            raise root_cause(error) or error from None


def with_published(result: Cell, published: Cell) -> Cell:
    """Return a result with the figures of SAM as published beside its own."""
    beside = {
        name: {"published": published[name]["tuned"], **section}
        for name, section in result.items()
        if isinstance(section, dict) and "tuned" in section
    }
    return {**result, "published": published["tuned"], **beside}


def _git(*arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
