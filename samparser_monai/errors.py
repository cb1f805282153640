"""What a user did, not what we did: one line that names the argument, its value and the remedy."""

import difflib
import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any


class InputError(ValueError):
    """Bad input from a user; the message is one line that names what, where and what to do."""


class Unfinished(InputError):
    """No fault of what was typed: the work was begun, and could not be done, or not all of it."""


def unknown(what: str, value: object, options: Iterable[object]) -> InputError:
    """Return the error for a name that is not among the known ones, with the nearest known one."""
    names = sorted(map(str, options))
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return InputError(f"unknown {what} {str(value)!r}{hint} (known: {shown})")


def at_least(least: float, **values: Any) -> None:
    """Raise an InputError unless all values are numbers of at least ``least``.

    Args:
        least: where it is a whole number, they must be whole too.
        **values: each under the name that the user knows it by.
    """
    kind, text = (int, "whole number") if isinstance(least, int) else (int | float, "number")
    for name, value in values.items():
        if not isinstance(value, kind) or not value >= least:
            raise InputError(f"{name} must be a {text} of at least {least:g}, not {value!r}")


def share_of_all(argument: str, value: Any) -> float:
    """Return a share, a number from 0 to 1, that a user gives as ``argument``; else InputError."""
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{argument}={value!r} must be from 0 to 1")
    return value


def writable(argument: str, folder: str | Path) -> Path:
    """Return a folder that files can be written to, made where it was not there.

    Raises:
        InputError: it cannot be written; ``argument`` is what it came from.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"{argument}={str(folder)!r} cannot be written ({error.strerror}): name another folder"
        ) from error
    return Path(folder)


def root_cause(error: BaseException) -> InputError | None:
    """Return the InputError at the bottom of a chain of exceptions, if there is one.

    Of what went wrong in a loader's process the text is all that there is. A disk that is full, or
    cannot be written, is such an error wherever it is met.
    """
    cause: BaseException | None = error
    while cause is not None:
        if sent := re.search(r"errors\.(?:InputError|Unfinished): (.+)", str(cause)):
            return InputError(sent[1])
        if isinstance(cause, InputError):
            return cause
        if re.search(r"DataLoader worker .*(killed|exited)", str(cause)):
            return Unfinished(
                "a loader's process was ended, for want of memory most likely: lower --num_workers"
            )
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            place = cause.filename or "a folder that is written to"
            return Unfinished(
                f"{place}: {cause.strerror}; free some space, or name another folder by "
                "--output_dir, --ckpt_dir or --cache_dir"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def told(error: BaseException) -> str:
    """Return one line about an exception: that of an InputError, or of what began it."""
    cause = root_cause(error)
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return " ".join(str(cause or f"{type(error).__name__}: {error}").split())


def one_line() -> None:
    """Let an uncaught InputError end the process with its one line and exit code 1.

    MONAI wraps what a component raises in its own errors, whose stack hides the cause. Set
    SAMPARSER_TRACEBACK=1 to see the whole stack.
    """
    previous = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, stack: TracebackType | None
    ) -> None:
        cause = root_cause(error)
        if kind is KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        elif cause is None or os.environ.get("SAMPARSER_TRACEBACK"):
            previous(kind, error, stack)
        else:
            print(f"error: {cause}", file=sys.stderr)

    sys.excepthook = report
