"""Speeds."""

from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import print_json
from samparser_monai.errors import InputError, unknown
from samparser_monai.monai_command import faster


def benchmark(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="training, inference, encoder, scaling, swap, start, step, volume or filling",
        ),
    ],
    backbone: Annotated[str, typer.Option()] = "vit_b",
    file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there too.")
    ] = None,
) -> None:
    """Measure speeds as ratios, side by side in one run, and print them as JSON.

    Weights are seeded, not published: a speed does not depend on their values. `encoder` takes the
    published ones where they are at hand, because it compares masks too.
    """
    faster()
    import platform
    from importlib.metadata import version

    import torch

    from samparser_monai.files import read_json, write_json
    from samparser_monai.sam import backbone_named
    from samparser_monai.studies.benchmarks import KINDS

    if kind not in KINDS:
        raise unknown("benchmark", kind, KINDS)
    backbone_named(backbone)
    about = {"kind": kind, "backbone": backbone}
    if file and file.exists():
        before = read_json(file)
        if not isinstance(before, dict) or {k: before.get(k) for k in about} != about:
            raise InputError(f"--json {file} is no measurement of {about}: name another")
    cuda = torch.cuda.is_available()
    card = torch.cuda.get_device_name() if cuda else platform.processor()
    result = {
        **about,
        "device": card or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        **KINDS[kind](backbone),
    }
    print_json(result)
    if file:
        write_json(file, result)
