"""Carry a tuned part on: look at it, merge it into a plain checkpoint, export it.

TUNED is the tuned.safetensors of a training; its base is the published file in the cache folder,
or --checkpoint. docs/how_to/tuned.md tells what each command writes.
"""

import argparse
import json
import sys
from pathlib import Path

from samparser_monai.errors import InputError, writable
from samparser_monai.sam import build
from samparser_monai.tuned.merge import added_names, merge, merged_weights, write_weights
from samparser_monai.tuned.onnx import export_onnx
from samparser_monai.tuned.part import open_tuned, read_tuned, save_tuned
from samparser_monai.tuned.spectrum_report import write_spectrum_report
from samparser_monai.tuned.transformers import export_transformers
from samparser_monai.tuned.unmerge import unmerge


def show(args: argparse.Namespace) -> None:
    """Print what a tuned part belongs to, and its tensors."""
    tensors, about = read_tuned(args.tuned)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(json.dumps({**about, "numbers": numbers, "tensors": shapes}, indent=4, sort_keys=True))


def run_merge(args: argparse.Namespace) -> None:
    """Write the plain checkpoint that every tool for SAM loads."""
    network, _ = open_tuned(args.tuned, args.checkpoint)
    write_weights(args.output, merged_weights(merge(network), args.checkpoint))


def run_unmerge(args: argparse.Namespace) -> None:
    """Write the tuned part of a merged checkpoint, given its base."""
    network = unmerge(args.tuned, build(args.backbone, args.checkpoint))
    save_tuned(args.output, network, {}, network.state_dict())


def run_onnx(args: argparse.Namespace) -> None:
    """Write encoder.onnx and decoder.onnx for ONNX Runtime."""
    network, about = open_tuned(args.tuned, args.checkpoint)
    export_onnx(network if added_names(network) else merge(network), args.output, about)


def run_transformers(args: argparse.Namespace) -> None:
    """Write a folder for SamModel.from_pretrained of transformers."""
    network, _ = open_tuned(args.tuned, args.checkpoint)
    export_transformers(merge(network), args.output)


def spectrum(args: argparse.Namespace) -> None:
    """Write spectrum.json and spectrum.png: which coefficients moved, and whether they suffice."""
    network, about = open_tuned(args.tuned, args.checkpoint)
    report = write_spectrum_report(network, about, args.output, args.results)
    print(json.dumps(report["layers"], indent=4))
    print(report["verdict"]["reason"])


def unused(argument: str, output: str) -> None:
    """Raise an InputError where a file is, or a folder that is not empty: none is replaced."""
    path = Path(output)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise InputError(
            f"{argument}={output!r} is there already and is not replaced: name another, or move "
            "it away"
        )


COMMANDS = {  # name -> what it does, what it reads, what it writes
    "show": (show, "TUNED", None),
    "merge": (run_merge, "TUNED", "FILE.pth"),
    "unmerge": (run_unmerge, "MERGED.pth", "FILE.safetensors"),
    "export-onnx": (run_onnx, "TUNED", "FOLDER"),
    "export-transformers": (run_transformers, "TUNED", "FOLDER"),
    "spectrum": (spectrum, "TUNED", "FOLDER"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (work, source, target) in COMMANDS.items():
        command = commands.add_parser(name, help=work.__doc__, description=work.__doc__)
        command.add_argument("tuned", metavar=source)
        if target:
            command.add_argument("output", metavar=target)
            command.add_argument("--checkpoint", help="the base, where it is not the published one")
        if name == "unmerge":
            command.add_argument("--backbone", required=True)
        if name == "spectrum":
            command.add_argument("--results", default="results", help="of the harness")
    args = parser.parse_args(arguments)
    try:
        if "output" in args:
            writable("output", Path(args.output).absolute().parent)
            unused("output", args.output)
        COMMANDS[args.command][0](args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "output" in args:
        print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
