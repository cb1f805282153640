"""Where the tuned part of a run lies."""

from pathlib import Path

from samparser_monai.errors import InputError

NAME = "tuned.safetensors"


def part_in(run: str | Path) -> Path:
    """Return the tuned part in a run's folder, or in its ``models/``.

    Raises:
        InputError: there is none.
    """
    for path in (Path(run) / NAME, Path(run) / "models" / NAME):
        if path.is_file():
            return path
    raise InputError(f"{run} has no {NAME}, nor has its models/: name the folder of a training")
