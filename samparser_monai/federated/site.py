"""A site: the shipped bundle on its own cases, driven by MONAI's federated client."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from torch import nn

from samparser_monai.errors import unknown
from samparser_monai.federated.updates import NAMED, Tensors, Update, agreed
from samparser_monai.tuned.part import read_tuned, save_tuned, tuned_names

CONFIG_FILES = ["configs/train.json", "configs/federated.json"]

Proximal = Callable[[nn.Module, nn.Module], torch.Tensor]


class Site:
    """One site's side of a federated tuning.

    What a round teaches depends on the tuned part that came, the round's number and the site's
    cases, and on nothing before: a site that was restarted goes on as if it had not been.

    Args:
        name: of the site.
        settings: the bundle's keys that are the site's own, such as dataset_dir, and
            ``bundle_root`` and ``config_files``, which name the bundle on this machine.
        local_epochs: in a round.
        rounds: of the whole tuning; the learning rate falls over them.
        proximal: FedProx's term, of the tuned part and of what the round began with.

    Raises:
        InputError: an unknown key; what the bundle itself refuses.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        local_epochs: int,
        rounds: int,
        proximal: Proximal | None = None,
    ) -> None:
        self.name, self.proximal = name, proximal
        own = {**settings}
        root, files = own.pop("bundle_root", "."), own.pop("config_files", CONFIG_FILES)
        own |= {"local_epochs": local_epochs, "rounds": rounds}
        paths = [str(Path(root) / file) for file in files]
        known = ConfigParser.load_config_files(paths)
        for key in own:
            if key.split("#")[0] not in known:
                raise unknown(f"key in the settings of site {name}:", key, known)
        self.algo = MonaiAlgo(
            root,
            local_epochs,
            config_train_filename=list(files),
            config_evaluate_filename=None,
            train_kwargs=own,
        )
        self.algo.initialize({ExtraItems.CLIENT_NAME: name})
        self.trainer = self.algo.trainer
        self.network = self.trainer.network
        self.loss = self.trainer.loss_function
        self.parsed("train#fill")

    def parsed(self, key: str) -> Any:
        """Return a part of the site's configuration."""
        return self.algo.train_workflow.parser.get_parsed_content(key)

    @property
    def about(self) -> dict[str, Any]:
        """What the site's numbers belong to, as its tuned part would say it."""
        about = {key: self.parsed(key) for key in ("scenario", "labels", "window")}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tuned.safetensors"
            save_tuned(path, self.network, about, self.network.state_dict())
            return agreed(read_tuned(path)[1])

    def tuned(self) -> dict[str, np.ndarray]:
        """Return the tuned tensors as they are now."""
        weights = self.network.state_dict()
        return {
            name: weights[name].detach().cpu().numpy().copy() for name in tuned_names(self.network)
        }

    def train(self, tensors: Tensors, round: int) -> Update:
        """Train one round from the federation's tuned part; return what it changed.

        Args:
            tensors: the tuned part that all sites begin this round with.
            round: from 0.
        """
        state, epochs = self.trainer.state, self.algo.local_epochs
        state.epoch = round * epochs
        state.iteration = state.epoch * state.epoch_length
        self.trainer.optimizer.state.clear()  # Adam's memory is of another round
        schedule = self.parsed("schedule")
        schedule.last_epoch = state.iteration - 1
        schedule.step()
        begun = self._begun(tensors)
        if self.proximal:
            self.trainer.loss_function = self._near(begun)
        self.algo.train(ExchangeObject(weights=begun))
        now = self.tuned()
        cases, named = self._counts()
        steps = {name: now[name] - tensors[name] for name in now}
        return Update(self.name, round, cases, steps, self.about, named)

    def tune_on(self, path: Path, tensors: Tensors) -> None:
        """Train from a federation's tuned part on the site's own cases, and keep what it gives.

        Args:
            path: of the tuned part that is written.
            tensors: that the site begins with.
        """
        self.train(tensors, 0)
        about = {key: self.parsed(key) for key in ("scenario", "labels", "window")}
        save_tuned(path, self.network, about, self.network.state_dict())

    def _begun(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Return what training begins with: names that nobody has trained, at the places here."""
        own = self.network.state_dict()
        for name, tensor in tensors.items():
            own[name].copy_(torch.from_numpy(np.array(tensor)))
        if NAMED[0] in tensors:
            self.parsed("train#names")
        return {name: torch.from_numpy(tensor) for name, tensor in self.tuned().items()}

    def _counts(self) -> tuple[int, tuple[int, ...]]:
        """Return how many cases there are, and how many to each name."""
        named = {item["case"]: item["named"] for item in self.parsed("train#dataset").data}
        organs = [] if self.network.named_prompts is None else self.network.named_prompts.organs
        counts = (sum(organ in known for known in named.values()) for organ in organs)
        return len(self.parsed("items")["train"]), tuple(counts)

    def _near(self, begun: Mapping[str, torch.Tensor]) -> Callable[..., torch.Tensor]:
        own = dict(self.network.named_parameters())
        names = [name for name in tuned_names(self.network) if name in own]
        now = nn.ParameterList([own[name] for name in names])
        then = nn.ParameterList([begun[name].to(own[name].device) for name in names])
        then.requires_grad_(False)
        proximal, loss = self.proximal, self.loss
        assert proximal is not None
        return lambda *args: loss(*args) + proximal(now, then)
