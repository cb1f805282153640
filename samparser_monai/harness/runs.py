"""A study on disk: its facts and command in ``about.json``, its runs in ``runs.jsonl``."""

import json
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import replacing

FILE = "runs.jsonl"
Run = dict[str, Any]


def read_runs(folder: str | Path) -> dict[str, Run]:
    """Return the runs of a study by the name of their cell; none where there is no table yet.

    Raises:
        InputError: a line is damaged.
    """
    path = Path(folder) / FILE
    found: dict[str, Run] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else (), 1):
        try:
            run = json.loads(line)
            found[run.pop("cell")] = run
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number} is no run ({error!r}): remove it, and run its cell again"
            ) from error
    return found


def write_run(folder: str | Path, cell: str, run: Run) -> None:
    """Put a run into the table of a study: a line to a cell, by their names. One process writes."""
    runs = {**read_runs(folder), cell: run}
    with replacing(Path(folder) / FILE) as temporary:
        lines = (json.dumps({"cell": name, **runs[name]}) + "\n" for name in sorted(runs))
        temporary.write_text("".join(lines), "utf-8")
