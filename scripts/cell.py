"""One cell of a comparison: a training and an evaluation by the shipped configs, and its result."""

import json
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import torch
from run import command

from samparser_monai.errors import root_cause

PACKAGES = ("monai", "torch", "segment-anything", "samparser-monai")
RUNS = ("training", "evaluating")
Cell = dict[str, Any]


def name_of(cell: Cell) -> str:
    """Return a file name for a cell."""
    options = [f"{key}={value}" for key, value in cell["options"].items()]
    parts = [cell["method"], cell["decoder"], *options, f"seed={cell['seed']}"]
    return "_".join(parts).replace("/", "-")


def run_cell(cell: Cell, scenario: str, options: list[str], threads: int) -> Cell:
    """Train and evaluate one cell, in a process of its own, and return its result.

    Args:
        cell: method, decoder, seed and the options that are varied.
        scenario: of all cells.
        options: of all cells, as on the command line.
        threads: of this process.

    Raises:
        InputError: what a run has refused.
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="compare_") as folder:
        output = Path(folder)
        given = {
            "method": cell["method"],
            "decoder": cell["decoder"],
            "seed": 2023 + cell["seed"],
            **cell["options"],
            "scenario": scenario,
            "output_dir": output / "eval",
            "ckpt_dir": output / "models",
            "val_interval": 0,  # the last epoch's model is kept: nothing is chosen by the judge
            "with_published": False,
            "pictures": 0,
        }
        parts = [part for key, value in given.items() for part in (f"--{key}", str(value))]
        begun = time.monotonic()
        for run_id in ("evaluating",) if cell["method"] == "zero_shot" else RUNS:
            _run(command([run_id, *parts, *options], ignore=True), output / "log.txt")
        taken = time.monotonic() - begun
        summary = json.loads((output / "eval" / "summary.json").read_text())
        rows = json.loads((output / "eval" / "metrics.json").read_text())
    seconds = summary.get("seconds")
    return {
        **cell,
        "scenario": scenario,
        "given": [Path(o).name if Path(o).exists() else o for o in options],  # no local paths
        **summary,
        "images_a_second": summary["steps"] / seconds if seconds else None,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "wall_seconds": taken,
        "threads": threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "revision": _git("describe", "--always", "--dirty"),
        "cases": rows,
    }


def _run(parts: list[str], log: Path) -> None:
    """Run a command of monai.bundle in this process; what it prints goes to a file."""
    with log.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            fire.Fire({"run": monai.bundle.run}, command=parts)
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
