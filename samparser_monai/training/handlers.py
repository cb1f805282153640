"""Ignite handlers for a training that can be killed at any moment and goes on to the same end."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import monai.handlers
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.engines import IterationEvents
from monai.utils import set_determinism
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from samparser_monai.errors import InputError
from samparser_monai.files import replacing
from samparser_monai.training.resuming import Settings, checkpoint_of

log = logging.getLogger(__name__)


class ValidationHandler(monai.handlers.ValidationHandler):
    """Validate every ``interval`` epochs, and after the last one.

    A training that is shorter than the interval ends with a model too.
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._due), self)

    def _due(self, engine: Engine, epoch: int) -> bool:
        return epoch % self.interval == 0 or epoch == engine.state.max_epochs

    def __call__(self, engine: Engine) -> None:
        """Validate, and say how good the model is by now."""
        super().__call__(engine)
        _tell(engine, self.validator)


@idist.one_rank_only()
def _tell(trainer: Engine, validator: Engine) -> None:
    name, metrics = validator.state.key_metric_name, validator.state.metrics
    epoch, epochs = trainer.state.epoch, trainer.state.max_epochs
    tqdm.write(f"after epoch {epoch} of {epochs}: {name} {metrics[name]:.2f} % in validation")


class CheckpointSaver(monai.handlers.CheckpointSaver):
    """MONAI's saver, writing to a temporary name first and resuming its best score.

    MONAI opens the final name at once, so a kill leaves half a model; after a resume its first
    validation would replace a better model; and it saves as final what an error has left.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for checkpoint in (
            self._final_checkpoint,
            self._key_metric_checkpoint,
            self._interval_checkpoint,
        ):
            if checkpoint is not None:
                checkpoint.save_handler._save_func = _save_whole

    def exception_raised(self, engine: Engine, e: Exception) -> None:
        """Save nothing: the model of a training that failed is none."""
        raise e

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, and its file."""
        return self._key_metric_checkpoint.state_dict()


def _save_whole(checkpoint: Mapping, path: Path, save: Callable) -> None:
    with replacing(path) as temporary:
        save(checkpoint, temporary)


class Resumable:
    """Save the state of a training after every epoch, and take it up again.

    Args:
        folder: of the checkpoints; the last two are kept.
        state: what is saved beside the trainer.
        settings: what the training depends on, see Settings.
        resume: load the latest checkpoint of the same training before training.
        schedule: of the rates; where the epochs are others than before it goes on along its own.

    Raises:
        InputError: there is nothing to resume from.
    """

    def __init__(
        self,
        folder: str | Path,
        state: dict[str, Any],
        settings: Settings,
        resume: bool = False,
        schedule: LambdaLR | None = None,
    ) -> None:
        self.folder, self.schedule = str(folder), schedule
        self.settings = settings
        self.state = {**state, "settings": settings}
        self.load_path = checkpoint_of(folder, settings) if resume else None

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it behind the validation handler."""
        state = {**self.state, "trainer": engine}
        CheckpointSaver(self.folder, state, save_interval=1, n_saved=2).attach(engine)
        if self.load_path:
            monai.handlers.CheckpointLoader(self.load_path, state).attach(engine)
            if self.schedule is not None:
                engine.add_event_handler(Events.STARTED, self._go_on)

    def _go_on(self, engine: Engine) -> None:
        """Take the rates of this training's schedule, whose epochs may be others than before."""
        assert self.schedule is not None
        step = self.schedule.last_epoch
        groups = self.schedule.optimizer.param_groups
        for group, base, share in zip(
            groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * share(step)
        if self.settings.epochs_before != engine.state.max_epochs:
            log.warning(
                "resumed after epoch %d with epochs=%s in place of %s: the rates go on along the "
                "cosine of %s epochs, from %.2g of the full rate to 0; a training that had them "
                "from its start ends otherwise",
                *(engine.state.epoch, engine.state.max_epochs, self.settings.epochs_before),
                *(engine.state.max_epochs, self.schedule.lr_lambdas[0](step)),
            )


def cosine(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return the schedule that lets the rates fall to 0 along half a cosine of so many steps."""
    return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / steps, 1))) / 2)


class Finite:
    """Stop a training at the first number that is not finite, before it changes a weight.

    Args:
        network: which is trained.
        ckpt_dir: where what was saved before is kept, for the message.
    """

    def __init__(self, network: nn.Module, ckpt_dir: str | Path) -> None:
        self.network, self.ckpt_dir = network, ckpt_dir

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it before validation and what saves."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._loss)
        if not engine.amp:  # a scaler finds infinite gradients, and makes up for them
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._gradients)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._weights)

    def _loss(self, engine: Engine) -> None:
        self._check("the loss", [engine.state.output["loss"].detach()], engine)

    def _gradients(self, engine: Engine) -> None:
        found = [p.grad for p in self.network.parameters() if p.grad is not None]
        self._check("a gradient", found, engine)

    def _weights(self, engine: Engine) -> None:
        found = [t for t in self.network.state_dict().values() if t.is_floating_point()]
        self._check("a weight", found, engine)

    def _check(self, what: str, numbers: list[Tensor], engine: Engine) -> None:
        if numbers and not torch.stack([n.isfinite().all() for n in numbers]).all():
            state = engine.state
            raise InputError(
                f"{what} is not finite at step {state.iteration} (epoch {state.epoch}, "
                f"{names_of(state.batch)}): look at that case, or lower the rates; what was saved "
                f"before stays in ckpt_dir={str(self.ckpt_dir)!r}"
            )


def names_of(batch: Mapping[str, Any]) -> str:
    """Return the cases of a collated batch, and their slices, for a reader."""
    cases, slices = batch.get("case", []), batch.get("slice", [])
    return ", ".join(
        f"case {case!r}" + "".join(f" slice {k}" for k in slices[n : n + 1])
        for n, case in enumerate(cases)
    )


class PlainErrors:
    """Let an error leave an engine at once; attach it before all others.

    Otherwise MONAI's StatsHandler prints its stack, also where one line is the whole of it.
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self)

    def __call__(self, engine: Engine, error: Exception) -> None:
        """Raise it."""
        raise error


class EarlyStop:
    """Stop a training whose key metric has not risen for ``patience`` validations."""

    def __init__(self, validator: Engine, patience: int) -> None:
        self.validator, self.patience = validator, patience

    def attach(self, engine: Engine) -> None:
        """Let the validator stop this trainer."""
        monai.handlers.EarlyStopHandler(
            patience=self.patience,
            score_function=lambda validator: validator.state.metrics[
                validator.state.key_metric_name
            ],
            trainer=engine,
        ).attach(self.validator)


class ModelLoader:
    """Load a trained network before an evaluation; whether it fits is told when this is built.

    Raises:
        InputError: the file is missing or damaged, or is of another network.
    """

    def __init__(self, load_path: str | Path, network: nn.Module) -> None:
        if not Path(load_path).is_file():
            raise InputError(f"{load_path} does not exist: train first, or name the model's file")
        try:
            weights = torch.load(load_path, map_location="cpu", weights_only=True, mmap=True)
            weights = weights.get("model", weights)
            found = {name: tensor.shape for name, tensor in weights.items()}
        except Exception as error:
            raise InputError(
                f"{load_path} cannot be read ({type(error).__name__}): it is damaged, or no model "
                "that a training saved; train again, or name the model's file"
            ) from error
        wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
        wrong = [n for n in {**wanted, **found} if wanted.get(n) != found.get(n)]
        if wrong:
            raise InputError(
                f"{load_path} does not fit this network: {len(wrong)} of its tensors are missing, "
                f"too many or of another shape, the first is {wrong[0]!r}; give the backbone, "
                "method and decoder with which it was trained"
            )
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise InputError(
                    f"{load_path} holds numbers that are not finite, in {name!r}: train again, at "
                    "a lower rate"
                )
        self.weights, self.network = weights, network

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights, strictly."""
        self.network.load_state_dict(self.weights)


class EpochSeed:
    """Seed every generator at the start of an epoch, so that an epoch does not depend on the past.

    Args:
        seed: of the run; epoch n uses seed + n.
        loader: a FeatureLoader, whose order and random transforms are seeded too.
    """

    def __init__(self, seed: int, loader: Any) -> None:
        self.seed, self.loader = seed, loader

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that begins."""
        seed = self.seed + engine.state.epoch
        set_determinism(seed)
        set_rnd(self.loader.dataset, seed=seed)
        self.loader.sampler.set_epoch(seed)


class History:
    """What a training has been through, kept over a resume: epochs, losses, scores, seconds.

    The seconds are of training alone, without validation.

    Args:
        validator: whose metrics are noted after the epochs that it has judged.
    """

    def __init__(self, validator: Engine) -> None:
        self.validator = validator
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._losses: list[float] = []
        self._begun = self._ended = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it behind the validation handler."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iterated)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._completed)

    def _started(self, engine: Engine) -> None:
        self._begun, self._losses = time.monotonic(), []

    def _iterated(self, engine: Engine) -> None:
        self._losses.append(float(engine.state.output[0]["loss"]))
        self._ended = time.monotonic()  # before validation begins

    def _completed(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, "loss": sum(self._losses) / len(self._losses)}
        if self.validator.state.epoch == engine.state.epoch:
            row |= self.validator.state.metrics
        self.rows.append(row)
        self.seconds += self._ended - self._begun

    def best(self) -> dict[str, float]:
        """Return the row of the epoch whose model is kept: the first with the best key metric."""
        name = self.validator.state.key_metric_name
        return max((row for row in self.rows if name in row), key=lambda row: row[name], default={})

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows, self.seconds = list(state["rows"]), state["seconds"]
