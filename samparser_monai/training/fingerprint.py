"""What something depends on, told without making it: values, the code of transforms, files."""

import functools
import hashlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samparser_monai.errors import InputError

PLAIN = (type(None), bool, int, float, str, bytes, os.PathLike, Enum, torch.dtype, torch.device)
RANDOM = (np.random.RandomState, np.random.Generator, torch.Generator)
"""What draws is seeded anew at every step: nothing that is made once depends on it."""
DEPENDS_ON = ("torch", "numpy", "scipy", "monai", "pillow", "tifffile", "imagecodecs", "cc3d")


def fingerprint(*values: Any) -> str:
    """Return 40 hexadecimal digits that differ where values, or the code of objects, differ.

    An object is its class, the source file of that, and its attributes. Our own code counts as a
    whole, so do the versions of the libraries that make pixels.

    Raises:
        InputError: an object has a state that cannot be told.
    """
    digest = hashlib.sha256(_surroundings())
    _tell(digest.update, values, set())
    return digest.hexdigest()[:40]


def states_of(item: Mapping[Any, Any]) -> list[tuple[int, int, int]]:
    """Return size and times of the files that an item names; its values say where they lie."""
    found = []
    for value in item.values():
        if isinstance(value, str | Path):
            try:
                state = os.stat(value)
            except (OSError, ValueError):
                continue
            found.append((state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return found


def _tell(tell: Callable[[bytes], None], value: Any, seen: set[int]) -> None:
    if isinstance(value, PLAIN) or isinstance(value, np.generic):
        tell(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, Mapping):
        tell(f"mapping of {len(value)};".encode())
        for pair in value.items():
            _tell(tell, pair, seen)
    elif isinstance(value, list | tuple):
        tell(f"{len(value)} values;".encode())
        for one in value:
            _tell(tell, one, seen)
    elif isinstance(value, set | frozenset):
        _tell(tell, sorted(map(repr, value)), seen)
    elif isinstance(value, Tensor | np.ndarray):
        array = np.ascontiguousarray(value)
        tell(f"{array.dtype} {array.shape};".encode())
        tell(memoryview(array.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        tell(f"{value.__module__}.{value.__qualname__} {_source(value.__module__ or '')};".encode())
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            code = value.__code__
            _tell(tell, [code.co_code, code.co_names, repr(code.co_consts)], seen)
            _tell(tell, [value.__defaults__, value.__kwdefaults__, cells], seen)
    elif not isinstance(value, RANDOM) and id(value) not in seen:
        seen.add(id(value))
        _tell(tell, _parts(value), seen)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if hasattr(value, "__dict__"):
        drawn = getattr(value, "drawn", ())  # attributes that are seeded anew, too
        return [type(value), {n: v for n, v in vars(value).items() if n not in drawn}]
    raise InputError(
        f"cache_features: a transform holds {value!r}, of which nobody can say whether it has "
        "changed since its pictures were cached: keep it in plain attributes, or set "
        "--cache_features False"
    )


@functools.cache
def _source(module: str) -> str:
    """Return the hash of the file that a module comes from; of our own, of all of them."""
    if module.split(".")[0] == "samparser_monai":
        return ""  # among the surroundings
    path = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


@functools.cache
def _surroundings() -> bytes:
    """Return a hash of our own code and of the libraries' versions."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    for name in DEPENDS_ON:
        try:
            digest.update(f"{name} {importlib.metadata.version(name)}".encode())
        except importlib.metadata.PackageNotFoundError:
            continue
    return digest.digest()
