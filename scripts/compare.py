"""Train and evaluate methods side by side, each through the shipped configs.

    python scripts/compare.py [--scenario abdomen_ct] [--methods all|NAME ...]
        [--decoder tuned coefficients frozen] [--seeds 3] [--vary KEY=VALUE,VALUE ...]
        [--study NAME] [--key value ...]

Every combination of method, decoder, seed and varied key is a cell: a training and an evaluation
of their own, and a file results/STUDY/run_CELL.json. A study has the scenario's name unless it is
given another. Cells that have their file are not run again, so a study goes on where it was ended.
Other keys go to every cell, `--dataset_dir DIR` say.
`python scripts/make_tables.py` makes the page and the pictures of it.
"""

import argparse
import itertools
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from run import command, finished
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown, writable
from samparser_monai.report import write_json

METHODS = sorted(path.stem for path in Path("configs", "methods").glob("*.json"))
DECODERS = ("tuned", "coefficients", "frozen")
PACKAGES = ("monai", "torch", "segment-anything", "samparser-monai")


def cells(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what distinguishes each cell of the grid.

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
    at_least(1, seeds=arguments.seeds)
    varied = [choice.partition("=") for choice in arguments.vary]
    for key, _, values in varied:
        if not all(values.split(",")):
            raise InputError(f"--vary {key}: write KEY=VALUE,VALUE")
    found = []
    for method, decoder, seed, *values in itertools.product(
        methods,
        arguments.decoder,
        range(arguments.seeds),
        *(values.split(",") for _, _, values in varied),
    ):
        if method in ("zero_shot", "decoder_only") and decoder == "frozen":
            decoder = "tuned"  # with a frozen decoder they are the same thing, or nothing
        options = {key: value for (key, _, _), value in zip(varied, values, strict=True)}
        if method == "zero_shot":
            decoder, seed, options = "tuned", 0, {}
        cell = {"method": method, "decoder": decoder, "seed": seed, "options": options}
        if cell not in found:
            found.append(cell)
    return found


def name_of(cell: dict[str, Any]) -> str:
    """Return a file name for a cell."""
    options = [f"{key}={value}" for key, value in cell["options"].items()]
    parts = [cell["method"], cell["decoder"], *options, f"seed={cell['seed']}"]
    return "_".join(parts).replace("/", "-")


def run_cell(cell: dict[str, Any], scenario: str, options: list[str]) -> dict[str, Any]:
    """Train and evaluate one cell and return its result.

    Raises:
        InputError: its command failed; the message ends with the command's own last line.
    """
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
        }
        parts = [part for key, value in given.items() for part in (f"--{key}", str(value))]
        begun, peak = time.monotonic(), 0.0
        for run_id in ("training", "evaluating"):
            if run_id == "training" and cell["method"] == "zero_shot":
                continue
            log = output / "log.txt"
            peak = max(peak, finished(command([run_id, *parts, *options], ignore=True), log))
        taken = time.monotonic() - begun
        summary = json.loads((output / "eval" / "summary.json").read_text())
        rows = json.loads((output / "eval" / "metrics.json").read_text())
    seconds = summary.get("seconds")
    return {
        **cell,
        "scenario": scenario,
        **summary,
        "images_a_second": summary["steps"] / seconds if seconds else None,
        "peak_memory_gb": peak,
        "wall_seconds": taken,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "revision": _git("describe", "--always", "--dirty"),
        "cases": rows,
    }


def _git(*arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()


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
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments, options = parser.parse_known_args()
    failed = 0
    try:
        grid = cells(arguments)
        study = arguments.study or arguments.scenario
        folder = writable("results", arguments.results / study)
        varied = [f"--{choice.partition('=')[0]}=" for choice in arguments.vary]
        command(
            ["evaluating", "--scenario", arguments.scenario, *options, *varied]
        )  # unknown keys are told before anything runs
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = {"title": study, "facts": {}, "command": "python " + " ".join(sys.argv)}
    if not (folder / "about.json").exists():
        write_json(folder / "about.json", about)
    for cell in (bar := tqdm(grid, unit="cell")):
        bar.set_description(name_of(cell))
        file = folder / f"run_{name_of(cell)}.json"
        if not file.exists():
            try:
                write_json(file, run_cell(cell, arguments.scenario, options))
            except InputError as error:
                tqdm.write(f"error: {error}", file=sys.stderr)
                failed += 1
    print(f"{len(grid) - failed} of {len(grid)} cells in {folder}; now scripts/make_tables.py")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
