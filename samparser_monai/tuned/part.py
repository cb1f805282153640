"""The tuned part: the few numbers that a training has changed, bound to their base by its hash."""

import json
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samparser_monai import __version__
from samparser_monai.errors import InputError, unknown
from samparser_monai.files import replacing
from samparser_monai.methods.counts import VARIANTS
from samparser_monai.sam import BACKBONES, SamNetwork, backbone_named, build
from samparser_monai.sam.named_prompts import organs_in, with_names


def tuned_names(network: SamNetwork) -> list[str]:
    """Return the names of what the network's method tunes, and of where its organs are expected."""
    tuned = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    return tuned if network.named_prompts is None else [*tuned, "named_prompts.places"]


def save_tuned(
    path: str | Path, network: SamNetwork, about: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Write a safetensors file with the tuned tensors of ``weights`` and what they belong to.

    Args:
        path: of the file; it is written to a temporary name, then renamed.
        network: after its method has been applied.
        about: what the network does not know: scenario, labels, window, metrics.
        weights: a state dictionary of the network.
    """
    described = backbone_named(network.backbone)
    known = {
        "method": network.method,
        "options": network.options,
        "backbone": network.backbone,
        "base_sha256": network.base_sha256,
        **({} if network.named_prompts is None else {"names": network.named_prompts.organs}),
        "image_size": described.image_size,
        "mean": described.mean,
        "std": described.std,
        "versions": {
            "samparser_monai": __version__,
            **{package: version(package) for package in ("monai", "torch")},
        },
    }
    tensors = {name: weights[name].detach().cpu().contiguous() for name in tuned_names(network)}
    write_tuned(path, tensors, {**about, **known})


def write_tuned(path: str | Path, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors as a tuned part; see save_tuned, which makes both from a network."""
    text = {key: json.dumps(value, separators=(",", ":")) for key, value in about.items()}
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, text)
        temporary.chmod(0o644)  # safetensors lets nobody else read


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
        raise InputError(
            f"tuned part {path} cannot be read ({error}): it is damaged, or no file that a "
            "training saved as tuned.safetensors; name that one"
        ) from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"tuned part {path}: {name} holds numbers that are not finite: train again, "
                "at a lower rate"
            )
    return tensors, metadata


def load_tuned(path: str | Path, network: SamNetwork) -> dict[str, Any]:
    """Load a tuned part into a network of the same base and method; return what it belongs to.

    Raises:
        InputError: see fitting.
    """
    tensors, metadata = fitting(path, network)
    network.load_state_dict(tensors, strict=False)
    return metadata


def fitting(path: str | Path, network: SamNetwork) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return read_tuned of a part that fits a network, which learns the part's names.

    Raises:
        InputError: another base, method or option; tensors that are missing, too many or of
            another shape.
    """
    tensors, metadata = read_tuned(path)
    _check_base(path, metadata, network)
    decoder = organs_in(tensors)[1]
    with_names(network, metadata.get("names", []), decoder)
    own = network.state_dict()
    wanted, found = set(tuned_names(network)), set(tensors)
    wrong = {
        "missing": wanted - found,
        "too many": found - wanted,
        "of another shape": {n for n in wanted & found if tensors[n].shape != own[n].shape},
    }
    told = "; ".join(f"{what}: {_few(names)}" for what, names in wrong.items() if names)
    made = metadata.get("method"), metadata.get("options")
    if told or made != (network.method, json.loads(json.dumps(network.options))):
        told = told or f"here it is {network.method!r} and {network.options}"
        raise InputError(
            f"tuned part {path} does not fit this method ({told}): it was made with "
            f"method {made[0]!r} and {made[1]}, give the same"
        )
    return tensors, metadata


def apply_tuned(path: str | Path, network: SamNetwork) -> dict[str, Any]:
    """Give a published network the method of a tuned part, with its options, and its tensors.

    Raises:
        InputError: another base; a method that is not known here; see load_tuned.
    """
    metadata = read_tuned(path)[1]
    _check_base(path, metadata, network)
    apply_method(network, metadata.get("method"), metadata.get("options", {}), path)
    return load_tuned(path, network)


def apply_method(
    network: SamNetwork, method: Any, options: Mapping[str, Any], path: str | Path
) -> SamNetwork:
    """Give a published network the method that a tuned part names, with its options.

    Raises:
        InputError: it is not known here, or does not take these options.
    """
    if method not in VARIANTS:
        raise unknown(f"method of the tuned part {path}:", method, VARIANTS)
    try:
        return VARIANTS[method](network, **options)
    except TypeError as error:
        raise InputError(
            f"tuned part {path}: method {method!r} does not take the options {options}: the file "
            "was made by another version, see `show`"
        ) from error


def open_tuned(
    path: str | Path, checkpoint: str | Path | None = None
) -> tuple[SamNetwork, dict[str, Any]]:
    """Build the network that a tuned part makes of its base; return it and what it belongs to.

    Args:
        path: of the tuned part, which names its backbone and its method.
        checkpoint: its base, where that is not the backbone's published weights.

    Raises:
        InputError: see apply_tuned and build.
    """
    network = build(backbone_of(path, read_tuned(path)[1]), checkpoint)
    return network, apply_tuned(path, network)


def backbone_of(path: str | Path, metadata: Mapping[str, Any]) -> str:
    """Return the backbone that a tuned part names.

    Raises:
        InputError: it is not known here, or has another size here.
    """
    backbone = metadata.get("backbone")
    if backbone not in BACKBONES:
        raise unknown(f"backbone of the tuned part {path}:", backbone, BACKBONES)
    here = BACKBONES[backbone].image_size
    if (size := metadata.get("image_size", here)) != here:
        raise InputError(
            f"tuned part {path} is of {backbone} for images of {size} pixels, here they have "
            f"{here}: it was made by another version"
        )
    return str(backbone)


def _check_base(path: str | Path, metadata: Mapping[str, Any], network: SamNetwork) -> None:
    if metadata.get("base_sha256") != network.base_sha256:
        raise InputError(
            f"tuned part {path} was made on the base with sha256 {metadata.get('base_sha256')}, "
            f"this network is {network.base_sha256}: load the checkpoint that it was made on"
        )


def _few(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(sorted(names)[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


class TunedSaver:
    """At the end of a training write the tuned part of its best model beside it.

    Args:
        model_file: the best model, as CheckpointSaver writes it.
        network: whose method says what is tuned.
        about: see save_tuned.
        history: of the training; the metrics of its best epoch are written too.
    """

    def __init__(
        self,
        model_file: str | Path,
        network: SamNetwork,
        about: Mapping[str, Any],
        history: Any = None,
    ) -> None:
        self.model_file, self.network = Path(model_file), network
        self.about, self.history = about, history

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    @idist.one_rank_only()
    def __call__(self, engine: Engine) -> None:
        """Write ``tuned.safetensors``."""
        if self.model_file.exists():
            weights = torch.load(self.model_file, map_location="cpu", weights_only=True)
            path = self.model_file.with_name("tuned.safetensors")
            metrics = {"metrics": self.history.best()} if self.history else {}
            save_tuned(path, self.network, {**self.about, **metrics}, weights)
