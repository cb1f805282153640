"""The bundle's network, and the tuned parts that it can answer with."""

import copy
import json
import logging
import shutil
import threading
import time
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from lib.turns import Turns
from samparser_monai.errors import InputError, unknown
from samparser_monai.files import replacing, visible, write_json
from samparser_monai.sam import SamNetwork
from samparser_monai.tuned.loading import ModelLoader
from samparser_monai.tuned.part import load_tuned
from samparser_monai.volumes.inferer import VolumeInferer
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)
LATEST, START = "latest", "start"
MOST_PARTS = 4  # of which networks are in memory, beside the one that the bundle came with
KEPT = 48  # slices of an open volume: 4 MB of features each, and 4 MB of an embedding


class Versions:
    """The tuned parts of a bundle, a file each, and the order in which trainings made them.

    Args:
        bundle: its folder; the parts lie in ``models/tuned``. ``start`` is ``models/model.pt``.
        most: parts that trainings have made and that stay; the oldest go. Others always stay.
    """

    def __init__(self, bundle: Path, most: int = 20) -> None:
        self.folder, self.most = bundle / "models" / "tuned", most
        self.index = self.folder / "versions.json"

    def history(self) -> list[dict[str, Any]]:
        """Return what trainings noted: name, time, parent, DSC before and after, accepted.

        A row of ``switched_by`` has a name that answers since then, whatever trainings said.
        """
        return json.loads(self.index.read_text()) if self.index.exists() else []

    def names(self) -> list[str]:
        """Return what a request may ask for."""
        files = self.folder.glob("*.safetensors")
        return [LATEST, START, *sorted(path.stem for path in files if visible(path))]

    def resolve(self, name: str) -> str:
        """Return the name of a part; ``latest`` is what a training, or a person, chose last.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.names():
            raise unknown("tuned part", name, self.names())
        if name != LATEST:
            return name
        accepted = [row["name"] for row in self.history() if row["accepted"]]
        return next((n for n in reversed(accepted) if n == START or self.path(n).exists()), START)

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.safetensors"

    def add(self, candidate: Path, row: dict[str, Any]) -> None:
        """Note a training; an accepted candidate moves in first, so that a kill loses nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if row["accepted"]:
            with replacing(self.path(row["name"])) as file:
                shutil.copyfile(candidate, file)
        self._note(row)
        chosen = dict.fromkeys(one["name"] for one in reversed(self.history()))  # the last first
        made = [path for name in chosen if (path := self.path(name)).exists()]
        for path in made[self.most :]:
            log.info("tuned part %s goes: %d newer ones are kept", path.stem, self.most)
            path.unlink()

    def switch(self, name: str, who: str) -> str:
        """Let a part answer from now on; return its name.

        Raises:
            InputError: there is none of that name.
        """
        name = self.resolve(name)
        self._note({"name": name, "accepted": True, "switched_by": who})
        log.info("%r answers from now on: %s said so", name, who)
        return name

    def _note(self, row: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.index, [*self.history(), {**row, "time": time.strftime("%F %T")}])


class Model:
    """The bundle's network with each of its tuned parts; what no training changes is there once.

    Args:
        bundle: folder with ``configs/inference.json`` and ``models/model.pt``.
        overrides: of the configuration's keys.
        versions: how many tuned parts stay, see Versions.

    Attributes:
        turns: by which the networks answer.
    """

    def __init__(
        self, bundle: Path, overrides: dict[str, Any] | None = None, versions: int = 20
    ) -> None:
        self.bundle, self.overrides = bundle, overrides or {}
        self.versions, self.turns = Versions(bundle, versions), Turns()
        self.labels: dict[str, Any] = self.parser().get_parsed_content("labels")
        self._networks: OrderedDict[Any, SamNetwork] = OrderedDict()
        self._making = threading.RLock()

    def parser(self, **more: Any) -> ConfigParser:
        """Return the bundle's inference configuration."""
        parser = ConfigParser()
        parser.read_config(self.bundle / "configs" / "inference.json")
        parser.update({"bundle_root": str(self.bundle), **self.overrides, **more})
        return parser

    @cached_property
    def _start(self) -> SamNetwork:
        network = self.parser().get_parsed_content("network")
        model_file = self.bundle / "models" / "model.pt"
        network.load_state_dict(ModelLoader(model_file, network).weights)
        turns = self.turns  # functions, which copies of the network have in common with it
        network.prompt_encoder.register_forward_pre_hook(lambda *_: turns.next())
        for layer in network.image_encoder.modules():  # on a slow machine a slice takes seconds
            layer.register_forward_pre_hook(lambda *_: turns.next(answers=0))
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
        with self._making:
            read, inferer, network = self._preprocessing, self.inferer, self._start
        return inferer.session(read({"image": path})["image"], network)

    def network(self, name: str) -> SamNetwork:
        """Return the network with the tuned part of this name; those used last stay.

        Raises:
            InputError: the part is damaged, or of another network.
        """
        if name == START:
            with self._making:
                return self._start
        path = self.versions.path(name)
        key = name, path.stat().st_mtime_ns
        with self._making:
            if key not in self._networks:
                network = _sharing(self._start)
                load_tuned(path, network)
                self._networks[key] = network
                log.info("tuned part %s", name)
            self._networks.move_to_end(key)
            while len(self._networks) > MOST_PARTS:
                self._networks.popitem(last=False)
            return self._networks[key]

    def names(self, tuned: str = LATEST) -> list[str]:
        """Return the organs that a tuned part finds by name; none of a part that cannot be used."""
        try:
            known = self.network(self.versions.resolve(tuned)).named_prompts
        except InputError as error:
            log.warning("%s", error)
            return []
        return [] if known is None else known.taught


def _sharing(network: SamNetwork) -> SamNetwork:
    """Return a copy of a network that has the frozen weights in common with it."""
    own = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    memo = {id(tensor): tensor for tensor in network.state_dict(keep_vars=True).values()}
    return copy.deepcopy(network, {key: t for key, t in memo.items() if key not in own})
