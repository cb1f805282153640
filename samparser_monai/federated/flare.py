"""NVIDIA FLARE's side: its controller, executor, aggregator and persistor around ours.

FLARE sends, authenticates, waits, retries and filters; nothing of ours imports this file but
``job``, and FLARE by its name.
"""

import json
import time
from dataclasses import replace
from typing import Any

import torch
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.model import (
    ModelLearnable,
    ModelLearnableKey,
    make_model_learnable,
)
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.abstract.response_processor import ResponseProcessor
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather
from nvflare.app_opt.pt.fedproxloss import PTFedProxLoss
from nvflare.fuel.utils import fobs

from samparser_monai.errors import InputError, root_cause
from samparser_monai.federated.folder import federation_folder, site_settings
from samparser_monai.federated.site import Site
from samparser_monai.federated.updates import (
    Update,
    agreed,
    average,
    disagreement,
    fingerprint,
    refusal,
)
from samparser_monai.tuned.part import read_tuned, write_tuned

ABOUT = "about"  # in the meta data of what is sent: what the numbers belong to
NAMED = "named"  # there too, with names: of a site's cases, in how many each organ was labelled
OWN = "tune_on"  # the task after the rounds: a tuned part of the site's own
ROUNDS_DONE = "rounds_done"  # in the metadata of the server's tuned part


class TunedExecutor(Executor):
    """Train a round on the site's own cases and send the steps; what differs sends none.

    Args:
        local_epochs: in a round.
        fedprox_mu: weight of FedProx's term; 0 is FedAvg.
        own_epochs: of the training on, after the rounds.
    """

    def __init__(self, local_epochs: int = 1, fedprox_mu: float = 0.0, own_epochs: int = 0) -> None:
        super().__init__()
        self.local_epochs, self.fedprox_mu, self.own_epochs = local_epochs, fedprox_mu, own_epochs
        self.site: Site | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Stop the training that runs when the task is aborted."""
        if event_type == EventType.ABORT_TASK and self.site:
            self.site.algo.abort()

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Answer one task; why one failed is told in this site's log and does not travel."""
        try:
            begun = from_shareable(shareable)
            if task_name == OWN:
                return self._tune_on(fl_ctx.get_identity_name(), begun)
            rounds = shareable.get_header(AppConstants.NUM_ROUNDS)
            round = shareable.get_header(AppConstants.CURRENT_ROUND)
            site = self.site = self.site or self._site(fl_ctx.get_identity_name(), rounds)
            if told := disagreement(site.about, begun.meta[ABOUT]):
                self.log_error(fl_ctx, f"this site cannot take part: {told}")
                update = Update(site.name, round, 0, {}, site.about)
            else:
                update = site.train(begun.data, round)
                update = replace(update, about=fingerprint(begun.meta[ABOUT]))
        except Exception as error:
            self.log_error(fl_ctx, f"this site has no update: {root_cause(error) or repr(error)}")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        if abort_signal.triggered:
            return make_reply(ReturnCode.TASK_ABORTED)
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: update.cases, ABOUT: update.about}
        meta |= {NAMED: list(update.named)} if update.named else {}
        return DXO(DataKind.WEIGHT_DIFF, dict(update.steps), meta).to_shareable()

    def _tune_on(self, name: str, begun: DXO) -> Shareable:
        site = Site(name, site_settings(name), self.own_epochs, 1)
        if told := disagreement(site.about, begun.meta[ABOUT]):
            raise InputError(told)
        site.tune_on(federation_folder() / f"{name}_own.safetensors", begun.data)
        return make_reply(ReturnCode.OK)

    def _site(self, name: str, rounds: int) -> Site:
        mu = self.fedprox_mu
        return Site(
            name,
            site_settings(name),
            self.local_epochs,
            rounds,
            PTFedProxLoss(mu) if mu else None,
        )


class TunedAggregator(Aggregator):
    """Average the sound updates of a round by cases, and name what is left out and why.

    Args:
        most_step: the largest number that an update may hold.
        most_cases: what a site may weigh at most.
    """

    def __init__(self, most_step: float = 0.5, most_cases: int = 1000) -> None:
        super().__init__()
        self.most_step, self.most_cases = most_step, most_cases
        self.reset(None)

    def reset(self, fl_ctx: FLContext | None) -> None:
        """Forget the round."""
        self.updates: dict[str, Update] = {}
        self.row: dict[str, Any] = {"sites": {}, "left_out": {}}
        self.begun = time.time()

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Keep an update for the average, or leave it out and say why."""
        model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        site = shareable.get_peer_prop(ReservedKey.IDENTITY_NAME, "?")
        try:
            sent = from_shareable(shareable)
        except ValueError:  # made by something else
            sent = DXO(DataKind.WEIGHT_DIFF, {}, {})
        update = Update(
            site,
            shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND),
            sent.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND),
            sent.data if sent.data_kind == DataKind.WEIGHT_DIFF else None,
            sent.get_meta_prop(ABOUT),
            sent.get_meta_prop(NAMED, ()),
        )
        reason = refusal(
            update,
            model[ModelLearnableKey.WEIGHTS],
            model[ModelLearnableKey.META][ABOUT],
            fl_ctx.get_prop(AppConstants.CURRENT_ROUND),
            self.most_step,
        )
        if site in self.updates:
            reason = "it has sent an update for this round already"
        if reason:
            self.log_warning(fl_ctx, f"site {site} is left out of this round: {reason}")
            self.row["left_out"][site] = reason
            return False
        self.updates[site] = update
        self.row["sites"][site] = {
            "cases": update.cases,
            "bytes": len(fobs.dumps(shareable)),
            "seconds": round(time.time() - self.begun, 2),
        }
        return True

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """Return the mean step, and note the round in ``rounds.jsonl``."""
        model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        tensors, meta = model[ModelLearnableKey.WEIGHTS], model[ModelLearnableKey.META]
        if not self.updates:
            self.log_warning(fl_ctx, "no site has sent a sound update: the tuned part stays")
        row = {"round": fl_ctx.get_prop(AppConstants.CURRENT_ROUND), **self.row}
        with (federation_folder() / "rounds.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        mean = average(list(self.updates.values()), tensors, self.most_cases)
        return DXO(DataKind.WEIGHT_DIFF, mean, {ABOUT: meta[ABOUT]}).to_shareable()


class TunedPersistor(ModelPersistor):
    """The tuned part in the server's folder: start.safetensors, then tuned.safetensors."""

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Read where the federation stands; without a round so far, where it starts."""
        folder = federation_folder()
        path = folder / "tuned.safetensors"
        tensors, self.about = read_tuned(path if path.exists() else folder / "start.safetensors")
        weights = {name: tensor.numpy() for name, tensor in tensors.items()}
        return make_model_learnable(weights, {ABOUT: agreed(self.about)})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Write the tuned part after a round, in place of the one before."""
        done = fl_ctx.get_prop(AppConstants.CURRENT_ROUND) + 1
        tensors = {n: torch.from_numpy(w) for n, w in model[ModelLearnableKey.WEIGHTS].items()}
        path = federation_folder() / "tuned.safetensors"
        write_tuned(path, tensors, {**self.about, ROUNDS_DONE: done})


class TunedRounds(ScatterAndGather):
    """FLARE's rounds, from the first that the server's tuned part has not been through."""

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Go on behind the last round that was written."""
        super().start_controller(fl_ctx)
        self._current_round = self.persistor.about.get(ROUNDS_DONE, 0)

    def _process_train_result(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """Name a site that has failed too: FLARE does not show the aggregator what it answered."""
        if (code := client_task.result.get_return_code()) != ReturnCode.OK:
            self.aggregator.row["left_out"][client_task.client.name] = f"{code}: see its own log"
        super()._process_train_result(client_task, fl_ctx)


class OwnParts(ResponseProcessor):
    """After the rounds: every site trains on from what they gave, for itself; none answers more."""

    def create_task_data(self, task_name: str, fl_ctx: FLContext) -> Shareable:
        """Return where the federation stands."""
        model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        about = {ABOUT: model[ModelLearnableKey.META][ABOUT]}
        return DXO(DataKind.WEIGHTS, dict(model[ModelLearnableKey.WEIGHTS]), about).to_shareable()

    def process_client_response(
        self, client: Client, task_name: str, response: Shareable, fl_ctx: FLContext
    ) -> bool:
        """Note a site that has not managed to; the others go on."""
        if response.get_return_code() != ReturnCode.OK:
            self.log_warning(fl_ctx, f"site {client.name} has no part of its own: see its log")
        return True

    def final_process(self, fl_ctx: FLContext) -> bool:
        """Nothing is left to do."""
        return True
