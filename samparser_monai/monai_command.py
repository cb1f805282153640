"""The MONAI command that a short form stands for: its config files, its keys, and its run."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from samparser_monai.errors import InputError, unknown
from samparser_monai.shipped import shipped

FILES = {
    "training": ["train.json"],
    "evaluating": ["train.json", "evaluate.json"],
    "inference": ["inference.json"],
    "inference_pictures": ["inference_pictures.json"],
}
FASTER = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Before torch: waiting threads that spin cost a busy machine nine tenths of its speed."""
ENVIRONMENT = {**FASTER, **os.environ}
SHARED = {"ssdd": "coco"}  # scenario -> the one whose overlay it has, under its own name
OVERLAYS = {"scenario": "scenarios", "method": "methods"}
OF_MONAI = {"tracking", "logging_file"}  # options of monai.bundle's own
OF_SOME_METHODS = {"space": "neck"}
"""Keys of train.json that some methods alone ask for -> what it is where nobody types it."""
Options = dict[str, str | None]


def command(arguments: Sequence[str], ignore: bool = False) -> list[str]:
    """Return the MONAI command for a run and ``--key value`` as people type them.

    Args:
        arguments: as people type them.
        ignore: leave out keys that this run does not know.

    Raises:
        InputError: an unknown run, overlay or key.
    """
    run_id = arguments[0] if arguments else ""
    if run_id not in FILES:
        raise unknown("run", run_id, FILES)
    return command_of(run_id, options_of(arguments[1:]), ignore)


def command_of(run_id: str, options: Mapping[str, str | None], ignore: bool = False) -> list[str]:
    """Return the MONAI command for a run and its keys, ``scenario`` and ``method`` among them."""
    options = dict(options)
    configs = shipped("configs")
    files = [configs / FILES[run_id][0]]
    for kind in OVERLAYS:
        if kind in options:
            name = options.pop(kind)
            known = overlays(kind)
            if name not in known:
                raise unknown(kind, name, known)
            if name in SHARED:
                options[kind] = name
            files.append(known[name])
    files += [configs / name for name in FILES[run_id][1:]]
    if ignore:
        known_keys = keys_of(files) - set(unasked(files))
        options = {key: v for key, v in options.items() if key.partition("#")[0] in known_keys}
    return command_with(run_id, files, options)


def command_with(
    run_id: str, files: Sequence[Path], options: Mapping[str, str | None]
) -> list[str]:
    """Return the MONAI command for a run, its config files and its keys.

    Raises:
        InputError: the files do not know a key, or their method does not ask for it.
    """
    known, ignored = keys_of(files), unasked(files)
    for key, value in options.items():
        if key.partition("#")[0] not in known:
            raise unknown("config key", key, known)
        if key in ignored and value != OF_SOME_METHODS[key]:
            methods = [name for name, path in overlays("method").items() if key in asked_in(path)]
            raise InputError(
                f"{key}={value}: the method {ignored[key]} has no {key}; leave --{key} out or "
                f"at {OF_SOME_METHODS[key]}, or name a method that has one: {', '.join(methods)}"
            )
    chosen = [part for key, value in options.items() for part in (f"--{key}", value)]
    return [
        *("run", run_id, "--config_file", str([_shown(path) for path in files])),
        *(part for part in chosen if part is not None),
    ]


def overlays(kind: str) -> dict[str, Path]:
    """Return the overlays of a kind, ``scenario`` or ``method``, by name."""
    known = {p.stem: p for p in sorted((shipped("configs") / OVERLAYS[kind]).glob("*.json"))}
    return known | ({n: known[own] for n, own in SHARED.items()} if kind == "scenario" else {})


def asked_in(overlay: Path) -> set[str]:
    """Return the keys that an overlay refers to."""
    return set(re.findall(r"@(\w+)", overlay.read_text("utf-8")))


def unasked(files: Sequence[Path]) -> dict[str, str]:
    """Return the keys that the method among config files does not ask for -> the method."""
    return {
        key: path.stem
        for path in files
        if path.parent.name == OVERLAYS["method"]
        for key in OF_SOME_METHODS.keys() - asked_in(path)
    }


def keys_of(files: Sequence[Path]) -> set[str]:
    """Return the keys that config files, and monai.bundle itself, know."""
    keys = (key for path in files for key in json.loads(path.read_text("utf-8")))
    return {key.partition("#")[0] for key in keys} | OF_MONAI


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def options_of(arguments: Sequence[str]) -> Options:
    """Return key -> value of arguments as people type them; None where there is no value."""
    options: Options = {}
    key = None
    for argument in arguments:
        if argument.startswith("--"):
            key, _, value = argument[2:].partition("=")
            options[key] = value or None
        elif key is None or options[key] is not None:
            raise InputError(f"unexpected argument {argument!r}: write --key value")
        else:
            options[key] = argument
    return options


def faster() -> None:
    """Set what makes torch faster in this process, before it is imported; what is set stays."""
    for name, value in FASTER.items():
        os.environ.setdefault(name, value)


def run_here(parts: Sequence[str]) -> None:
    """Run a MONAI command in this process; it has the arguments that it would have by itself."""
    faster()
    before = sys.argv
    sys.argv = ["monai.bundle", *parts]
    try:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before


def finished(parts: Sequence[str], log: Path) -> float:
    """Run a MONAI command, wait for it, and return the peak of its memory in GB.

    Raises:
        InputError: it failed; the message ends with the command's own last line.
    """
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "monai.bundle", *parts],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise InputError(f"`monai.bundle {' '.join(parts)}` failed: {''.join(last)}")
    return usage.ru_maxrss * 1024 / 1e9
