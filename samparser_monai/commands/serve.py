"""MONAI Label: viewers ask the model, correct it, and teach it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import at_most_one, takes_keys
from samparser_monai.errors import InputError


@takes_keys
def serve(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="STUDIES [--OPTION VALUE]...")
    ] = None,
    port: Annotated[int, typer.Option(help="On this machine alone, 127.0.0.1.")] = 8000,
    tuned: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A tuned part, or a run's folder, to begin with."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--bundle", metavar="DIR", help="Where the model lives and learns.")
    ] = Path("label_server"),
    python: Annotated[
        Path | None,
        typer.Option(help="Of an environment with MONAI Label; one is made in the cache without."),
    ] = None,
) -> None:
    """Serve STUDIES, a folder of volumes or a DICOMweb address, to 3D Slicer and OHIF.

    The bundle of the model is made once, in --bundle, and learns there. Other options are those of
    `monailabel start_server`.
    """
    from samparser_monai.bundling import NAME, assemble
    from samparser_monai.label_server import python_of_server
    from samparser_monai.tuned.finding import part_in

    known = list(arguments or ())
    first = next((n for n, word in enumerate(known) if word.startswith("--")), len(known))
    studies = at_most_one(known[:first], "folder of studies")
    if studies is None or not (Path(studies).is_dir() or "://" in studies):
        raise InputError(f"STUDIES={studies!r} is no folder and no address: name one")
    bundle = folder / NAME
    if bundle.exists() and tuned is not None:
        raise InputError(f"{bundle} is there already: leave --tuned out, or give another --bundle")
    if tuned is not None and Path(tuned).is_dir():
        tuned = str(part_in(tuned))
    own = python or python_of_server()
    if not bundle.exists():
        assemble(folder, None, None, tuned)
    parts = [str(own), str(bundle / "label_app" / "serve.py"), "--studies", studies]
    parts += ["--port", str(port), *known[first:]]
    print(shlex.join(parts), flush=True)
    if os.name == "nt":
        raise typer.Exit(subprocess.run(parts).returncode)
    sys.stdout.flush()
    os.execv(parts[0], parts)  # in place of this process: Ctrl-C reaches the server itself
