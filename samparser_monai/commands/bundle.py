"""The model zoo's bundle."""

from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import AsJson, print_json
from samparser_monai.errors import InputError


def bundle(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the folder and the zip."),
    ] = Path("build"),
    backbone: Annotated[str | None, typer.Option(help="mobile_sam without.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="model.pt; models/model.pt where that is there."),
    ] = None,
    tuned: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A tuned part, or `published` for SAM as it came."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the bundle that runs by itself, MONAI Label's app in it: a folder, and its zip."""
    from samparser_monai.bundling import assemble, pack

    if model is not None and tuned is not None:
        raise InputError("--model and --tuned are two models: give one")
    own = Path("models", "model.pt")
    model = model or (own if own.exists() and not tuned else None)
    folder = assemble(output, backbone, model, tuned)
    carried = str(model or tuned or "SAM as published")
    made = {"model": carried, "folder": str(folder), "zip": str(pack(folder))}
    if as_json:
        print_json(made)
    else:
        print("\n".join(f"{key}: {value}" for key, value in made.items()))
