"""The short form of the MONAI command.

    python scripts/run.py training|evaluating|inference|inference_pictures
        [--scenario NAME] [--method NAME] [--key value ...]

It picks the config files, refuses unknown keys, prints the command it stands for, and runs it.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from monai.bundle import ConfigParser

from samparser_monai.errors import InputError, unknown

CONFIGS = Path("configs")
FILES = {
    "training": ["train.json"],
    "evaluating": ["train.json", "evaluate.json"],
    "inference": ["inference.json"],
    "inference_pictures": ["inference_pictures.json"],
}
# waiting threads that spin cost a busy machine nine tenths of its speed
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
SHARED = {"ssdd": "coco"}  # scenario -> the one whose overlay it has, under its own name
OVERLAYS = {"scenario": "scenarios", "method": "methods"}
OF_MONAI = {"tracking", "logging_file"}  # options of monai.bundle's own


def command(arguments: list[str], ignore: bool = False) -> list[str]:
    """Return the MONAI command for the arguments.

    Args:
        arguments: as people type them.
        ignore: leave out keys that this run does not know.

    Raises:
        InputError: an unknown run, overlay or key.
    """
    run_id = arguments[0] if arguments else ""
    if run_id not in FILES:
        raise unknown("run", run_id, FILES)
    options = options_of(arguments[1:])
    files = [str(CONFIGS / FILES[run_id][0])]
    for kind, folder in OVERLAYS.items():
        if kind in options:
            name = options.pop(kind)
            known = {path.stem: path for path in (CONFIGS / folder).glob("*.json")}
            if kind == "scenario":
                known |= {shared: known[own] for shared, own in SHARED.items()}
                options |= {kind: name} if name in SHARED else {}
            if name not in known:
                raise unknown(kind, name, sorted(known))
            files.append(str(known[name]))
    files += [str(CONFIGS / name) for name in FILES[run_id][1:]]
    parser = ConfigParser()
    parser.read_config(files)
    for key in list(options):
        if key.partition("#")[0] not in {*parser.config, *OF_MONAI}:
            if not ignore:
                raise unknown("config key", key, {*parser.config, *OF_MONAI})
            del options[key]
    chosen = [part for key, value in options.items() for part in (f"--{key}", value)]
    return ["run", run_id, "--config_file", str(files), *filter(None, chosen)]


def options_of(arguments: list[str]) -> dict[str, str | None]:
    """Return key -> value of arguments as people type them; None where there is no value."""
    options: dict[str, str | None] = {}
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


def finished(parts: list[str], log: Path) -> float:
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


def main() -> int:
    """Print the command and run it; return an exit code only if it is refused."""
    try:
        parts = ["-m", "monai.bundle", *command(sys.argv[1:])]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shlex.join(["python", *parts]), flush=True)
    # in place of this process: what is sent to it, Ctrl-C say, reaches the run itself
    os.execve(sys.executable, [sys.executable, *parts], ENVIRONMENT)


if __name__ == "__main__":
    sys.exit(main())
