"""All commands under one name, and what their exit codes are."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from samparser_monai import __version__
from samparser_monai.commands import (
    benchmark,
    bundle,
    cache,
    compare,
    fetch,
    info,
    segment,
    serve,
    tables,
    train,
    tuned,
)
from samparser_monai.commands.running import KEYS
from samparser_monai.errors import Unfinished, root_cause


def _group(about: str) -> typer.Typer:
    return typer.Typer(
        help=about,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def _example(*lines: str) -> str:
    return "\n\n".join(["Example:", *(f"  {line}" for line in lines)])


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


app = _group(
    "Segment Anything, rebuilt for your scenario by 512 numbers. Exit codes: 0 done, 1 begun but "
    "not (all) done, 2 refused, 130 interrupted."
)
tuned_app = _group("Carry a tuned part on: look at it, merge it, export it.")
cache_app = _group("What was fetched and computed once.")
app.add_typer(tuned_app, name="tuned")
app.add_typer(cache_app, name="cache")


@app.callback(epilog=_example("samparser fetch mobile_sam demonstration_ct", "samparser train"))
def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


COMMANDS: dict[Callable[..., Any], tuple[str, ...]] = {
    segment.segment: ("samparser segment ct.nii.gz --prompts boxes.json --tuned run -o out",),
    train.train: ("samparser train DIR --scenario nwpu --method lora --epochs 3 -o run",),
    train.evaluate: ("samparser evaluate -o run",),
    train.resume: ("samparser resume run --epochs 10",),
    compare.compare: (
        "samparser compare --methods lora_xs,svft --vary rank=4,8 --dataset_dir DIR",
    ),
    tables.tables: ("samparser tables",),
    benchmark.benchmark: ("samparser benchmark swap --backbone mobile_sam",),
    fetch.fetch: ("samparser fetch mobile_sam demonstration_ct",),
    info.info: ("samparser info", "samparser info run --json"),
    serve.serve: ("samparser serve STUDIES --tuned models/tuned.safetensors",),
    bundle.bundle: ("samparser bundle --tuned models/tuned.safetensors -o build",),
}
OF_TUNED: dict[Callable[..., Any], tuple[str, ...]] = {
    tuned.show: ("samparser tuned show models/tuned.safetensors --json",),
    tuned.merge: ("samparser tuned merge models/tuned.safetensors sam_ct.pth",),
    tuned.unmerge: ("samparser tuned unmerge sam_ct.pth back.safetensors --backbone mobile_sam",),
    tuned.onnx: ("samparser tuned onnx models/tuned.safetensors onnx",),
    tuned.transformers: ("samparser tuned transformers models/tuned.safetensors hf",),
    tuned.spectrum: ("samparser tuned spectrum models/tuned.safetensors spectrum",),
}
for group, known in (
    (app, COMMANDS),
    (tuned_app, OF_TUNED),
    (cache_app, {cache.clear: ("samparser cache clear --yes",)}),
):
    for work, lines in known.items():
        takes_keys = {"ignore_unknown_options": True} if work in KEYS else {}
        group.command(epilog=_example(*lines), context_settings=takes_keys)(work)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, those of this process without ``arguments``; return its exit code."""
    try:
        app(arguments, prog_name="samparser")
    except SystemExit as ended:
        if ended.code == 130:
            print("interrupted", file=sys.stderr)
        return int(ended.code or 0)
    except Exception as error:
        cause = root_cause(error)
        if cause is None or os.environ.get("SAMPARSER_TRACEBACK"):
            raise
        print(f"error: {cause}", file=sys.stderr)
        return 1 if isinstance(cause, Unfinished) else 2
    return 0


def script() -> None:
    """End the process with the exit code of its command."""
    sys.exit(main())
