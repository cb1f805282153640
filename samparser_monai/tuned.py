"""The tuned part: the few numbers that a training has changed, bound to their base by its hash."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samparser_monai import __version__
from samparser_monai.errors import InputError
from samparser_monai.sam import SamNetwork


def tuned_names(network: SamNetwork) -> list[str]:
    """Return the names of what the network's method tunes."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def save_tuned(
    path: str | Path, network: SamNetwork, about: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Write a safetensors file with the tuned tensors of ``weights`` and what they belong to.

    Args:
        path: of the file; it is written to a temporary name, then renamed.
        network: after its method has been applied.
        about: what a reader must know: the method's options, labels, preprocessing.
        weights: a state dictionary of the network.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"base_sha256": network.base_sha256, "backbone": network.backbone}
    metadata = {**about, **known, "samparser_monai": __version__}
    tensors = {name: weights[name].detach().cpu().contiguous() for name in tuned_names(network)}
    temporary = path.with_suffix(".part")
    text = {key: json.dumps(value, separators=(",", ":")) for key, value in metadata.items()}
    save_file(tensors, temporary, text)
    temporary.chmod(0o644)  # safetensors lets nobody else read
    os.replace(temporary, path)


def read_tuned(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a tuned part and what they belong to.

    Raises:
        InputError: the file is missing or damaged, or holds numbers that are not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"tuned part {path} cannot be read ({error}): save it again") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"tuned part {path}: {name} holds numbers that are not finite")
    return tensors, metadata


def load_tuned(path: str | Path, network: SamNetwork) -> dict[str, Any]:
    """Load a tuned part into a network of the same base and method; return what it belongs to.

    Raises:
        InputError: another base, or tensors that are missing, too many or of another shape.
    """
    tensors, metadata = read_tuned(path)
    if metadata.get("base_sha256") != network.base_sha256:
        raise InputError(
            f"tuned part {path} was made on the base with sha256 {metadata.get('base_sha256')}, "
            f"this network is {network.base_sha256}: load the checkpoint that it was made on"
        )
    own = {name: parameter for name, parameter in network.named_parameters()}
    wrong = set(tensors) ^ set(tuned_names(network))
    wrong |= {name for name in set(tensors) & set(own) if tensors[name].shape != own[name].shape}
    if wrong:
        raise InputError(
            f"tuned part {path} does not fit this method: {len(wrong)} tensors are missing, too "
            f"many or of another shape, the first is {min(wrong)!r}; give the method and decoder "
            f"of its training: {metadata}"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    return metadata


class TunedSaver:
    """At the end of a training write the tuned part of its best model beside it.

    Args:
        model_file: the best model, as CheckpointSaver writes it.
        network: whose method says what is tuned.
        about: see save_tuned.
    """

    def __init__(
        self, model_file: str | Path, network: SamNetwork, about: Mapping[str, Any]
    ) -> None:
        self.model_file, self.network, self.about = Path(model_file), network, about

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    @idist.one_rank_only()
    def __call__(self, engine: Engine) -> None:
        """Write ``tuned.safetensors``."""
        if self.model_file.exists():
            weights = torch.load(self.model_file, map_location="cpu", weights_only=True)
            path = self.model_file.with_name("tuned.safetensors")
            save_tuned(path, self.network, self.about, weights)
