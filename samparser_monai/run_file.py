"""``run.json``, which a run leaves beside its results: where it lies, and what it says."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import read_json
from samparser_monai.monai_command import Options, options_of

NAME = "run.json"
PLACES = (".", "models", "eval", "eval/predictions", "eval/volumes")
"""Where a run's folder may have one."""


@dataclass(frozen=True)
class Recorded:
    """A run that can be done again: its folder, config files and options."""

    path: Path
    folder: Path
    files: list[Path]
    options: Options


def runs_in(run: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the manifests of a run's folder, or that of one file, with their paths.

    Raises:
        InputError: there is none, or one cannot be read.
    """
    paths = [run] if run.is_file() else [run / place / NAME for place in PLACES]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise InputError(
            f"{run} has no {NAME}, nor have its models/ and eval/: name a run's folder"
        )
    for path in found:
        content = read_json(path)
        if not isinstance(content, dict) or "run" not in content:
            raise InputError(f"{path} was not left by a run of samparser_monai: name another")
        yield path, content


def recorded(run: Path, kind: str) -> Recorded:
    """Return the run of a kind, ``training`` say, in a folder.

    Raises:
        InputError: there is none; it was not begun by a command; it lies elsewhere now.
    """
    path, content = next((r for r in runs_in(run) if r[1]["run"] == kind), (None, {}))
    if path is None:
        raise InputError(f"{run} holds no {kind}: name a run's folder that does")
    arguments = content["arguments"]
    if arguments is None:
        raise InputError(f"the {kind} of {path} was not begun by a command: begin it as it was")
    folder = Path(content["folder"])
    if Path(content["beside"]) != path.parent.resolve():
        raise InputError(
            f"{path} was written in {content['beside']}: its {kind} can be gone on with there; "
            "here give the options anew"
        )
    chosen = options_of(arguments[2:])
    files = chosen.pop("config_file", None) or ""
    listed = ast.literal_eval(files) if files.startswith("[") else [files]
    paths = [folder / file for file in listed]
    if missing := [file for file in paths if not file.is_file()]:
        raise InputError(f"{path} names {missing[0]}, which is not there: give the options anew")
    return Recorded(path, folder, paths, chosen)
