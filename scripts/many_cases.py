"""A thousand cases over four processes of which two are killed, against one process.

    python scripts/many_cases.py FOLDER [--cases 1000] [--by slurm torchrun]

Synthetic volumes, and the tiny backbone tuned on others like them. ``slurm`` is
bundle/slurm/segment.sbatch by the local stub (local_sbatch.py), ``torchrun`` is torch's. Two
processes are killed when a third of the cases are done; then the same is run again. Label volumes
must be equal byte for byte, and cases.csv but for its seconds. What came of it is a line of
results/many_cases/runs.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil

from samparser_monai.fetch import sha256_of
from samparser_monai.harness.runs import write_run

ROOT = Path(__file__).parent.parent
SHAPE = (64, 64, 6)
BIN = Path(sys.executable).parent
ONE = [sys.executable, "-m", "samparser_monai"]


def make(folder: Path, cases: int) -> None:
    """Write volumes of an organ in noise, and a box to each; tune on twenty more."""
    prompts, items = {}, []
    for name in ("in", "tuning"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(1, cases + 21):
        random = np.random.default_rng(number)
        low = random.integers(4, 24, 2)
        high = low + random.integers(16, 32, 2)
        image = random.normal(0, 20, SHAPE)
        image[low[0] : high[0], low[1] : high[1], 1:5] += 80
        case = f"case_{number:04}"
        prompts[case] = [{"label": "liver", "box": [*map(int, low), 1, *map(int, high), 4]}]
        path = folder / ("in" if number <= cases else "tuning") / f"{case}.nii.gz"
        if not path.exists():
            nib.save(nib.Nifti1Image(image.astype(np.int16), np.eye(4)), path)
        if number > cases:
            label = np.zeros(SHAPE, np.uint8)
            label[low[0] : high[0], low[1] : high[1], 1:5] = 1
            truth = path.with_name(f"{case}_label.nii.gz")
            nib.save(nib.Nifti1Image(label, np.eye(4)), truth)
            items.append({"image": path.name, "label": truth.name, "case": case})
            prompts.pop(case)
    (folder / "prompts.json").write_text(json.dumps(prompts))
    datalist = folder / "tuning" / "datalist.json"
    datalist.write_text(json.dumps({"training": items[1:], "validation": items[:1]}))
    if not (folder / "tuned").exists():
        words = ["train", datalist, "-o", folder / "tuned", "--backbone", "tiny"]
        words += ["--decoder_rate", "1e-3", "--epochs", "8", "--val_interval", "0"]
        subprocess.run([*ONE, *map(str, words)], check=True)


def arguments(folder: Path, out: str) -> list[str]:
    """Return what all ways to run it are given."""
    given = [
        str(folder / "in"),
        "--prompts",
        str(folder / "prompts.json"),
        "--tuned",
        str(folder / "tuned"),
    ]
    return [*given, "-o", str(folder / out)]


def done(folder: Path) -> int:
    """Return how many cases are finished."""
    return len(list(folder.glob("records/[!.]*.json")))


def command_of(by: str, folder: Path) -> list[str]:
    """Return the command that runs all cases by four processes."""
    if by == "slurm":
        words = [sys.executable, ROOT / "scripts" / "local_sbatch.py", "--array=0-3"]
        words.append(ROOT / "bundle" / "slurm" / "segment.sbatch")
    else:
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        words += ["--nproc_per_node=4", "-m", "samparser_monai", "segment"]
    more = ["--resume", "True"] if by == "torchrun" else []
    return [*map(str, words), *arguments(folder, by), *more]


def killed(words: list[str], folder: Path, cases: int, log: Path) -> int:
    """Run, kill two processes at a third of the cases, wait for the rest; return the exit code."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    with log.open("a") as out:
        whole = subprocess.Popen(words, env=environment, cwd=log.parent, stdout=out, stderr=out)
        while done(folder) < cases // 3 and whole.poll() is None:
            time.sleep(0.2)
        workers = psutil.Process(whole.pid).children()
        for worker in workers[1:3]:
            worker.kill()
        return whole.wait()


def tables(folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return cases.csv without its seconds, and the hash of every label volume."""
    table = pd.read_csv(folder / "cases.csv").drop(columns="seconds")
    volumes = {path.name: sha256_of(path) for path in sorted(folder.glob("*.nii.gz"))}
    return table.sort_values(["case", "organ"]).reset_index(drop=True), volumes


def main() -> None:
    """Run it, compare, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--by", nargs="+", default=["slurm", "torchrun"])
    args = parser.parse_args()
    folder = args.folder.resolve()
    make(folder, args.cases)
    log = folder / "log.txt"
    begun = time.monotonic()
    words = [*ONE, "segment", *arguments(folder, "one")]
    with log.open("a") as out:
        subprocess.run(words, check=True, stdout=out, stderr=out)
    one = {"cases": args.cases, "seconds_of_one": round(time.monotonic() - begun)}
    print(one, flush=True)
    expected, volumes = tables(folder / "one")
    for by in args.by:
        words, found = command_of(by, folder), {"by": by, **one}
        begun = time.monotonic()
        found["exit_when_killed"] = killed(words, folder / by, args.cases, log)
        found["done_when_killed"] = done(folder / by)
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        with log.open("a") as out:
            again = subprocess.run(words, env=environment, cwd=folder, stdout=out, stderr=out)
        found |= {"exit_after_resume": again.returncode, "seconds": round(time.monotonic() - begun)}
        table, own = tables(folder / by)
        found |= {"done": done(folder / by)}
        found |= {"tables_equal": table.equals(expected), "volumes_equal": own == volumes}
        write_run(ROOT / "results" / "many_cases", by, found)
        print(by, found, flush=True)


if __name__ == "__main__":
    main()
