"""What the commands that stand for a MONAI command share."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from samparser_monai.errors import InputError
from samparser_monai.monai_command import Options, options_of, run_here

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone, for a program.")]
KEYS: set[Callable[..., Any]] = set()
"""Commands to which any ``--key value`` of a configuration may be given."""


def takes_keys(work: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a command whose arguments hold keys of a configuration."""
    KEYS.add(work)
    return work


def split(arguments: Sequence[str] | None) -> tuple[list[str], Options]:
    """Return the words, and the keys with their values, of arguments in any order.

    What follows ``--key`` is its value; ``--key=value`` is the same.
    """
    words: list[str] = []
    keys: list[str] = []
    for argument in arguments or ():
        after_key = bool(keys) and keys[-1].startswith("--") and "=" not in keys[-1]
        (keys if argument.startswith("--") or after_key else words).append(argument)
    return words, options_of(keys)


def at_most_one(words: Sequence[str], what: str) -> str | None:
    """Return the only word, None without any.

    Raises:
        InputError: there are several.
    """
    if len(words) > 1:
        raise InputError(
            f"unexpected argument {words[1]!r}: give one {what}, and keys as --key value"
        )
    return words[0] if words else None


def run(parts: Sequence[str], result: Path | None = None) -> None:
    """Print a MONAI command and run it in this process.

    Args:
        parts: of the command.
        result: a ``run.json`` that is printed at the end, with nothing else on stdout.
    """
    told = shlex.join(["python", "-m", "monai.bundle", *parts])
    with redirect_stdout(sys.stderr) if result else nullcontext():
        print(told, flush=True)
        run_here(parts)
    if result:
        print(result.read_text("utf-8").rstrip())


def print_json(content: Any) -> None:
    """Print what a program reads."""
    print(json.dumps(content, indent=4))
