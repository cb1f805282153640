"""Fetch published weights and the demonstration CT into the cache folder: once, verified."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import AsJson, print_json
from samparser_monai.errors import unknown


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="mobile_sam, lite_medsam, vit_b, vit_l, vit_h, demonstration_ct",
            autocompletion=lambda: [
                *("mobile_sam", "lite_medsam", "vit_b", "vit_l", "vit_h", "demonstration_ct")
            ],
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Fetch published weights, or the demonstration CT, and check their sha256."""
    from samparser_monai import fetch as files
    from samparser_monai.sam.checkpoints import WEIGHTS
    from samparser_monai.volumes.demonstration import fetch_demonstration

    known = {name: partial(files.fetch, source) for name, source in WEIGHTS.items()}
    ways: dict[str, Callable[[], Path]] = {**known, "demonstration_ct": fetch_demonstration}
    for name in names:
        if name not in ways:
            raise unknown("name", name, ways)
    found = {}
    for name in names:
        found[name] = str(ways[name]())
        if not as_json:
            print(f"{name}: {found[name]}", flush=True)
    if as_json:
        print_json(found)
