"""What settings and files are, to be kept and compared with those of another day."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samparser_monai.files import read_json


def plain(value: Any) -> Any:
    """Return what an object consists of as JSON has it; what it draws at random is left out."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()[:16]
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Iterable):
        found = [plain(inner) for inner in value]
        return sorted(found, key=repr) if isinstance(value, set | frozenset) else found
    if isinstance(value, np.random.RandomState | torch.Generator):
        return None
    if isinstance(value, Path | Enum | torch.device) or not hasattr(value, "__dict__"):
        return str(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return value.__qualname__
    return {type(value).__qualname__: plain(vars(value))}


def digest_of(items: Sequence[Mapping[str, Any]]) -> str:
    """Return a hash of items: of what they say, and of the size and time of every file they name.

    Folders are left out of the files' names, so that data which moves stays the same.
    """
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(_with_states(plain(item)), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _with_states(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_states(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_states(inner) for inner in value]
    if isinstance(value, str) and "/" in value and os.path.exists(value):
        return states_of(Path(value))
    return value


def states_of(path: Path) -> list[Any]:
    """Return the name, size and time of each file at a path, see files_at."""
    return [
        [os.path.relpath(file, path), (state := file.stat()).st_size, state.st_mtime_ns]
        for file in files_at(path)
    ]


def mark_of(path: Path) -> str:
    """Return what an image is known by, also in a copy of it: its size, and how it begins.

    Of a folder of slices its first file stands for it: each has a number of its own.
    """
    file = next(iter(files_at(path)), path)
    digest = hashlib.sha256(str(file.stat().st_size).encode())
    with file.open("rb") as opened:
        digest.update(opened.read(2**16))
    return digest.hexdigest()[:16]


def files_at(path: Path) -> list[Path]:
    """Return a file, or each below a folder, and those that a list names or that lie below them."""
    found = [path]
    if path.suffix == ".json" and path.is_file():
        found += [path.parent / name for name in _texts(read_json(path))]
    below = [sorted(one.rglob("*")) if os.path.isdir(one) else [one] for one in found]
    return [file for files in below for file in files if os.path.isfile(file)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) < 1000:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what two of these differ in, key by key, for a reader; empty where they are equal."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    told = [
        f"{key} was {old.get(key, 'not there')}, is {new.get(key, 'not there')}"
        for key in {**old, **new}
        if key not in old or key not in new or old[key] != new[key]
    ]
    return "; ".join(told[:_MOST]) + (f"; and {len(told) - _MOST} more" if told[_MOST:] else "")


_MOST = 8  # of the differences that a line tells


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list) and value:
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            yield from _leaves(inner, f"{place}.{key}".lstrip("."))
    else:
        yield place, value
