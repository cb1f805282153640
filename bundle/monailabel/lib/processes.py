"""Notes about processes, to know later whether they still run: ids are used again."""

import os
from collections.abc import Mapping
from typing import Any

import psutil

CLOCK = 2.0  # seconds by which the start of one process may be told differently


def this_process() -> dict[str, Any]:
    """Return a note about this process."""
    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def running(note: Any) -> psutil.Process | None:
    """Return the process of a note if it, and no other of its id, still runs."""
    if not isinstance(note, Mapping):
        return None
    try:
        process = psutil.Process(note["pid"])
        same = abs(process.create_time() - note["started"]) < CLOCK
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def end(process: psutil.Process, patience: float = 5.0) -> None:
    """End a process and all that it started."""
    family = [*process.children(recursive=True), process]
    for member in family:
        _ask(member.terminate)
    for member in psutil.wait_procs(family, patience)[1]:
        _ask(member.kill)
    psutil.wait_procs(family, patience)


def _ask(to_end: Any) -> None:
    try:
        to_end()
    except psutil.NoSuchProcess:
        return
