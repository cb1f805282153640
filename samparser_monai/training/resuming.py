"""Which training a checkpoint belongs to: what it depends on is kept in it, and compared."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samparser_monai.errors import InputError
from samparser_monai.files import read_json


class Settings:
    """What a training depends on; its checkpoints keep it.

    Args:
        epochs: of the training, which a resumed one may change.
        data: section -> its items, which are told by what they say and by their files' states.
        **depends: everything else, by the key that the user knows.

    Attributes:
        epochs_before: those of the checkpoint that was loaded.
    """

    def __init__(
        self, epochs: int, data: Mapping[str, Sequence[Mapping[str, Any]]], **depends: Any
    ) -> None:
        self.epochs = self.epochs_before = epochs
        told = {key: json.loads(json.dumps(plain(value))) for key, value in depends.items()}
        self.depends: dict[str, Any] = told | {
            f"data ({section})": digest_of(items) for section, items in data.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"epochs": self.epochs, "depends": self.depends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Note of how many epochs the checkpoint's training was to be."""
        self.epochs_before = state["epochs"]


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


def checkpoint_of(folder: str | Path, settings: Settings) -> str:
    """Return the checkpoint of the latest epoch in ``folder`` that is of this training.

    Raises:
        InputError: there is none; it cannot be read, or is of other settings; it has more epochs.
    """
    found = epochs_in(folder)
    told = ""
    for epoch in sorted(found, reverse=True):
        before = _settings_in(found[epoch])
        differs = (
            differences(before["depends"], settings.depends)
            if before
            else "it does not say of which training, another version wrote it"
        )
        if not differs:
            if epoch > settings.epochs:
                raise InputError(
                    f"resume=True, but {found[epoch]} has more epochs than epochs="
                    f"{settings.epochs}: give at least {epoch}"
                )
            return str(found[epoch])
        told = told or f"{found[epoch].name}: {differs}"
    raise InputError(
        f"resume=True, but ckpt_dir={str(folder)!r} has no checkpoint of this training ({told}): "
        "give what it had, or train without --resume into another ckpt_dir"
    )


def epochs_in(folder: str | Path) -> dict[int, Path]:
    """Return the checkpoints in a folder by their epoch.

    Raises:
        InputError: there is none.
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("checkpoint_epoch=*.pt")
        if (match := re.search(r"=(\d+)\.pt$", path.name))
    }
    if not found:
        raise InputError(
            f"resume=True, but ckpt_dir={str(folder)!r} has no checkpoint_epoch=*.pt: "
            "train without --resume first, or name the folder of that training"
        )
    return found


def _settings_in(path: Path) -> dict[str, Any] | None:
    """Return the settings that a checkpoint keeps; None where it keeps none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = state["network"]
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged; remove it to resume "
            "from the one before"
        ) from error
    if not finite:
        raise InputError(f"{path} holds weights that are not finite: train again, at a lower rate")
    return state.get("settings")
