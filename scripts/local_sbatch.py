"""SLURM's sbatch for one machine: an array job's tasks as processes here.

    python scripts/local_sbatch.py [--array=0-3] SCRIPT ARGUMENTS...

The script's own ``#SBATCH --array`` counts where none is given. Prints ``TASK PID`` when a task
begins and ``TASK exit CODE`` when it has ended; the exit code is the worst of the tasks.
"""

import os
import re
import subprocess
import sys
from pathlib import Path


def tasks_of(array: str) -> list[int]:
    """Return the tasks of an ``--array``: 0-3, 1,3,5-7."""
    found = []
    for part in array.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def submit(script: Path, arguments: list[str], array: str | None = None) -> int:
    """Run the tasks at the same time; return the worst exit code."""
    text = script.read_text()
    said = re.search(r"^#SBATCH .*--array=([\d,-]+)", text, re.M)
    tasks = tasks_of(array or (said[1] if said else "0"))
    about = {
        "SLURM_ARRAY_TASK_COUNT": len(tasks),
        "SLURM_ARRAY_TASK_MIN": min(tasks),
        "SLURM_ARRAY_TASK_MAX": max(tasks),
        "SLURM_CPUS_PER_TASK": 1,
    }
    running = {}
    for task in tasks:
        own = {key: str(value) for key, value in {**about, "SLURM_ARRAY_TASK_ID": task}.items()}
        with Path(f"slurm-{task}.out").open("a") as out:
            running[task] = subprocess.Popen(
                ["bash", script, *arguments], env={**os.environ, **own}, stdout=out, stderr=out
            )
        print(task, running[task].pid, flush=True)
    codes = {task: process.wait() for task, process in running.items()}
    for task, code in codes.items():
        print(task, "exit", code, flush=True)
    return max(map(abs, codes.values()))


if __name__ == "__main__":
    words = sys.argv[1:]
    given = words.pop(0).removeprefix("--array=") if words[0].startswith("--array=") else None
    sys.exit(submit(Path(words[0]), words[1:], given))
