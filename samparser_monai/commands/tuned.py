"""Carry a tuned part on; docs/tuned.md tells what each command writes."""

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

from samparser_monai.commands.running import AsJson, print_json
from samparser_monai.errors import InputError, writable

Tuned = Annotated[
    Path,
    typer.Argument(metavar="TUNED", help="tuned.safetensors of a training, or a run's folder."),
]
Checkpoint = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The base, where it is not the published one.")
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]


def show(tuned: Tuned, as_json: AsJson = False) -> None:
    """Print what a tuned part belongs to, and its tensors."""
    from samparser_monai.tuned.part import read_tuned

    tensors, about = read_tuned(_part(tuned))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    content = {**about, "numbers": numbers}
    if as_json:
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        print_json(dict(sorted({**content, "tensors": shapes}.items())))
        return
    for key, value in sorted(content.items()):
        print(f"{key}: {value}")
    for name, tensor in tensors.items():
        print(f"  {name}  {'x'.join(map(str, tensor.shape))}")


def merge(
    tuned: Tuned,
    output: Annotated[Path, typer.Argument(metavar="FILE.pth")],
    checkpoint: Checkpoint = None,
) -> None:
    """Write the plain checkpoint that every tool for SAM loads."""
    from samparser_monai.tuned import merge as merging
    from samparser_monai.tuned.part import open_tuned

    _check_unused(output)
    network, _ = open_tuned(_part(tuned), checkpoint)
    merging.write_weights(output, merging.merged_weights(merging.merge(network), checkpoint))
    print(f"written: {output}")


def unmerge(
    merged: Annotated[Path, typer.Argument(metavar="MERGED.pth")],
    output: Annotated[Path, typer.Argument(metavar="FILE.safetensors")],
    backbone: Annotated[str, typer.Option(help="Of the base.")],
    checkpoint: Checkpoint = None,
    labels: Annotated[str | None, typer.Option(help="It was trained with: {'liver': 1}.")] = None,
    window: Annotated[str | None, typer.Option(help="It was trained with: [-160, 240].")] = None,
) -> None:
    """Write the tuned part of a merged checkpoint, given its base."""
    from samparser_monai.sam import build
    from samparser_monai.tuned.part import save_tuned
    from samparser_monai.tuned.unmerge import unmerge as unmerged

    _check_unused(output)
    about = {
        **_literal("labels", labels, dict, "{'liver': 1}"),
        **_literal("window", window, list, "[-160, 240]"),
    }
    network = unmerged(merged, build(backbone, checkpoint))
    save_tuned(output, network, about, network.state_dict())
    print(f"written: {output}")


def onnx(tuned: Tuned, output: Folder, checkpoint: Checkpoint = None) -> None:
    """Write encoder.onnx and decoder.onnx for ONNX Runtime."""
    from samparser_monai.tuned import merge as merging
    from samparser_monai.tuned.onnx import export_onnx
    from samparser_monai.tuned.part import open_tuned

    _check_unused(output)
    network, about = open_tuned(_part(tuned), checkpoint)
    plain = network if merging.added_names(network) else merging.merge(network)
    export_onnx(plain, output, about)
    print(f"written: {output}")


def transformers(tuned: Tuned, output: Folder, checkpoint: Checkpoint = None) -> None:
    """Write a folder for SamModel.from_pretrained of transformers."""
    from samparser_monai.tuned.merge import merge as merged
    from samparser_monai.tuned.part import open_tuned
    from samparser_monai.tuned.transformers import export_transformers

    _check_unused(output)
    network, _ = open_tuned(_part(tuned), checkpoint)
    export_transformers(merged(network), output)
    print(f"written: {output}")


def spectrum(
    tuned: Tuned,
    output: Folder,
    checkpoint: Checkpoint = None,
    results: Annotated[Path, typer.Option(help="Of `samparser compare`.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Write spectrum.json and spectrum.png: which coefficients moved, and whether they suffice."""
    from samparser_monai.tuned.part import open_tuned
    from samparser_monai.tuned.spectrum_report import write_spectrum_report

    _check_unused(output)
    network, about = open_tuned(_part(tuned), checkpoint)
    report = write_spectrum_report(network, about, output, results)
    if as_json:
        print_json(report)
        return
    print_json(report["layers"])
    print(report["verdict"]["reason"])
    print(f"written: {output}")


def _part(tuned: Path) -> Path:
    from samparser_monai.tuned.finding import part_in

    return part_in(tuned) if tuned.is_dir() else tuned


def _literal(key: str, text: str | None, kind: type, like: str) -> dict[str, Any]:
    """Return a typed value under its key, nothing where there is none."""
    if text is None:
        return {}
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = None
    if not isinstance(value, kind) or not value:
        raise InputError(f'{key}={text!r} cannot be read: write --{key} "{like}"')
    return {key: value}


def _check_unused(output: Path) -> None:
    """Raise an InputError where a file is, or a folder that is not empty: none is replaced."""
    writable("output", output.absolute().parent)
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        raise InputError(
            f"output={str(output)!r} is there already and is not replaced: name another, or move "
            "it away"
        )
