"""The bundle's network, and the tuned parts that it can answer with."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from samparser_monai.errors import unknown
from samparser_monai.files import replacing, visible, write_json
from samparser_monai.tuned.loading import ModelLoader
from samparser_monai.tuned.part import load_tuned, tuned_names
from samparser_monai.volumes.inferer import VolumeInferer
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)
LATEST, START = "latest", "start"
KEPT = 48  # slices of an open volume: 4 MB of features each, and 4 MB of an embedding


class Versions:
    """The tuned parts of a bundle, a file each, and the order in which trainings made them.

    Args:
        bundle: its folder; the parts lie in ``models/tuned``. ``start`` is ``models/model.pt``.
    """

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle / "models" / "tuned"
        self.index = self.folder / "versions.json"

    def history(self) -> list[dict[str, Any]]:
        """Return what trainings noted: name, time, parent, DSC before and after, accepted."""
        return json.loads(self.index.read_text()) if self.index.exists() else []

    def names(self) -> list[str]:
        """Return what a request may ask for."""
        files = self.folder.glob("*.safetensors")
        return [LATEST, START, *sorted(path.stem for path in files if visible(path))]

    def resolve(self, name: str) -> str:
        """Return the name of a part; ``latest`` is the last that a training was allowed to add.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.names():
            raise unknown("tuned part", name, self.names())
        if name != LATEST:
            return name
        accepted = [row["name"] for row in self.history() if row["accepted"]]
        return next((n for n in reversed(accepted) if self.path(n).exists()), START)

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.safetensors"

    def add(self, candidate: Path, row: dict[str, Any]) -> None:
        """Note a training; an accepted candidate moves in first, so that a kill loses nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if row["accepted"]:
            with replacing(self.path(row["name"])) as file:
                shutil.copyfile(candidate, file)
        write_json(self.index, [*self.history(), {**row, "time": time.strftime("%F %T")}])


class Model:
    """One network in memory, whose tuned part is exchanged as requests ask.

    Args:
        bundle: folder with ``configs/inference.json`` and ``models/model.pt``.
        overrides: of the configuration's keys.
    """

    def __init__(self, bundle: Path, overrides: dict[str, Any] | None = None) -> None:
        self.bundle, self.overrides = bundle, overrides or {}
        self.versions = Versions(bundle)
        self.labels: dict[str, Any] = self.parser().get_parsed_content("labels")
        self.loaded = ""
        self._one_at_a_time = threading.RLock()

    def parser(self, **more: Any) -> ConfigParser:
        """Return the bundle's inference configuration."""
        parser = ConfigParser()
        parser.read_config(self.bundle / "configs" / "inference.json")
        parser.update({"bundle_root": str(self.bundle), **self.overrides, **more})
        return parser

    @cached_property
    def network(self) -> Any:
        """The network, as ``models/model.pt`` has it at first."""
        network = self.parser().get_parsed_content("network")
        model_file = self.bundle / "models" / "model.pt"
        network.load_state_dict(ModelLoader(model_file, network).weights)
        state = network.state_dict()
        self._start = {name: state[name].clone() for name in tuned_names(network)}
        self.loaded = START
        return network.eval()

    @cached_property
    def inferer(self) -> VolumeInferer:
        """The volume engine of batch inference."""
        return self.parser(**{"inferer#kept": KEPT}).get_parsed_content("inferer")

    @cached_property
    def _preprocessing(self) -> Any:
        return self.parser().get_parsed_content("preprocessing")

    def session(self, path: str) -> VolumeSession:
        """Read a volume as batch inference does, and open a session on it."""
        return self.inferer.session(self._preprocessing({"image": path})["image"], self.network)

    @contextmanager
    def using(self, name: str) -> Iterator[str]:
        """Give the network to one request at a time, with a tuned part in it; tell its own name.

        Raises:
            InputError: there is no part of that name.
        """
        with self._one_at_a_time:
            own = self.versions.resolve(name)
            self._load(own)
            yield own

    def _load(self, name: str) -> None:
        network = self.network
        if name == self.loaded:
            return
        self.loaded = ""  # a mixture, should this fail half-way
        if name == START:
            with torch.no_grad():
                for key, parameter in network.named_parameters():
                    if key in self._start:
                        parameter.copy_(self._start[key])
        else:
            load_tuned(self.versions.path(name), network)
        log.info("tuned part %s", name)
        self.loaded = name
