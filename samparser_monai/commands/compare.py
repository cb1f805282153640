"""Methods side by side."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import split, takes_keys
from samparser_monai.errors import InputError


@takes_keys
def compare(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[--KEY VALUE]...")] = None,
    scenario: Annotated[str, typer.Option(help="Kind of data.")] = "abdomen_ct",
    study: Annotated[str | None, typer.Option(help="Name; the scenario's without.")] = None,
    methods: Annotated[str, typer.Option(help="Some, with commas between, or all.")] = "all",
    decoder: Annotated[str, typer.Option(help="tuned,coefficients,frozen, or some.")] = "tuned",
    seeds: Annotated[int, typer.Option(help="How many.")] = 3,
    vary: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE,VALUE", help="Once to each key.")
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,VALUE",
            help="Varied by the first seed; the others take what --validation_share finds best.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells at a time.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("results"),
) -> None:
    """Train and evaluate methods side by side, each combination a line of results/STUDY/runs.jsonl.

    What has its line is not run again: a study goes on where it was ended; one that was made with
    other data or options is an error, which says what differs. A key that some methods alone have
    varies those. Other keys go to every cell: --dataset_dir DIR. `samparser tables` makes pages.
    """
    words, options = split(arguments)
    if words:
        raise InputError(f"unexpected argument {words[0]!r}: lists have commas, keys --key value")
    given = [part for key, value in options.items() for part in (f"--{key}", value) if part]
    from samparser_monai.studies import grid

    told = shlex.join(["samparser", "compare", *sys.argv[2:]])
    done = grid.compare(
        scenario,
        study,
        methods.split(","),
        decoder.split(","),
        seeds,
        vary or [],
        choose or [],
        jobs,
        results,
        given,
        told,
    )
    if not done:
        raise typer.Exit(1)
