"""Which training a checkpoint belongs to: what it depends on is kept in it, and compared."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from samparser_monai.errors import InputError
from samparser_monai.states import differences, digest_of, plain


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
