"""Train, go on with a training, evaluate it: short forms of MONAI's commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import AsJson, at_most_one, run, split, takes_keys
from samparser_monai.errors import InputError
from samparser_monai.monai_command import Options, command_of, command_with, overlays
from samparser_monai.run_file import Recorded, recorded
from samparser_monai.shipped import shipped

Scenario = Annotated[
    str | None,
    typer.Option(
        help="Kind of data; CT volumes without.", autocompletion=lambda: [*overlays("scenario")]
    ),
]
Method = Annotated[
    str | None,
    typer.Option(help="How the encoder is tuned.", autocompletion=lambda: [*overlays("method")]),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the run: models/, eval/.")
]


@takes_keys
def train(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[DIR] [--KEY VALUE]...")] = None,
    scenario: Scenario = None,
    method: Method = None,
    output: Output = Path(),
    as_json: AsJson = False,
) -> None:
    """Tune on DIR, and keep the model that is best on its validation part.

    Without DIR it is the demonstration CT. Any key of the configuration is an option: epochs,
    backbone, decoder, labels, window, cache_dir, ...; one that is not known is refused.
    """
    words, options = split(arguments)
    options |= _given(
        output, dataset_dir=at_most_one(words, "DIR"), scenario=scenario, method=method
    )
    folder = Path(options.get("ckpt_dir") or output / "models")
    run(command_of("training", options), folder / "run.json" if as_json else None)


@takes_keys
def resume(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [--KEY VALUE]...")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with the training in RUN from its last epoch, to more epochs perhaps.

    Its options are those of RUN/models/run.json; they can be given anew: --epochs 10.
    """
    words, options = split(arguments)
    found = recorded(Path(at_most_one(words, "RUN") or "."), "training")
    os.chdir(found.folder)
    parts = command_with("training", found.files, {**found.options, "resume": "True", **options})
    run(parts, found.path if as_json else None)


@takes_keys
def evaluate(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[DIR] [--KEY VALUE]...")] = None,
    scenario: Scenario = None,
    method: Method = None,
    output: Output = Path(),
    as_json: AsJson = False,
) -> None:
    """Score the model in RUN, beside SAM as published, on its data or on those of DIR.

    What is not given is as RUN's training had it, unless a scenario, a method or a tuned part is
    named: --tuned models/tuned.safetensors.
    """
    words, options = split(arguments)
    options |= _given(output, dataset_dir=at_most_one(words, "DIR"))
    before = None
    if scenario is None and method is None and "tuned" not in options:
        before = _trained(output)
    if before is None:
        options |= {k: v for k, v in {"scenario": scenario, "method": method}.items() if v}
        parts = command_of("evaluating", options)
    else:
        options = _seen_from(before.folder, options)
        os.chdir(before.folder)
        files = [*before.files, shipped("configs") / "evaluate.json"]
        kept = {key: value for key, value in before.options.items() if key != "resume"}
        options = {**kept, **options}
        parts = command_with("evaluating", files, options)
    root = Path(options.get("bundle_root") or ".")
    folder = Path(options.get("output_dir") or root / "eval")
    run(parts, folder / "run.json" if as_json else None)


def _given(output: Path, **options: str | None) -> Options:
    """Return the options that were given, the run's folder among them."""
    root = {"bundle_root": str(output)} if output != Path() else {}
    return {**root, **{key: value for key, value in options.items() if value is not None}}


def _trained(output: Path) -> Recorded | None:
    """Return what a run's training recorded; None where there is nothing of the kind."""
    try:
        return recorded(output, "training")
    except InputError:
        return None


def _seen_from(folder: Path, options: Options) -> Options:
    """Return options whose paths mean the same in another folder."""
    if folder == Path.cwd():
        return options
    return {k: str(Path(v).absolute()) if v and Path(v).exists() else v for k, v in options.items()}
