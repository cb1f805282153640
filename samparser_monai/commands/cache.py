"""The cache folder: how large it is, and what can be computed again taken out of it."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import AsJson, print_json
from samparser_monai.errors import InputError

COMPUTED = ("features", "slices")
"""What a training makes again when it asks for it."""


def clear(
    fetched: Annotated[
        bool,
        typer.Option(
            "--fetched", help="Take weights, the demonstration CT and the server's environment too."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove features and slices of trainings from the cache folder; they are made anew."""
    from samparser_monai.fetch import cache_dir

    folder = cache_dir()
    found = {name: size for name, size in sizes(folder).items() if name in COMPUTED or fetched}
    total = sum(found.values())
    if not yes and found:
        if as_json:
            raise InputError("--json does not ask: add --yes")
        typer.confirm(
            f"Remove {', '.join(found)} ({total / 1e9:.2f} GB) from {folder}?", abort=True
        )
    for name in found:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if as_json:
        print_json({"folder": str(folder), "removed": found})
    else:
        print(f"removed {total / 1e9:.2f} GB from {folder}")


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of what this package keeps in the cache folder; no other file counts."""
    from samparser_monai.label_server import environments
    from samparser_monai.sam.checkpoints import WEIGHTS
    from samparser_monai.volumes.demonstration import SOURCE, demonstration_dir

    names = [*COMPUTED, *(source.name for source in (*WEIGHTS.values(), SOURCE))]
    names += [demonstration_dir().name, *(path.name for path in environments(folder))]
    return {name: _bytes(folder / name) for name in names if (folder / name).exists()}


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())
