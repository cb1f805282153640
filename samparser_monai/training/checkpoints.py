"""What a training saves, so that it can be killed at any moment and goes on to the same end."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import monai.handlers
from ignite.engine import Engine, Events
from torch.optim.lr_scheduler import LambdaLR

from samparser_monai.files import replacing
from samparser_monai.training.resuming import Settings, checkpoint_of

log = logging.getLogger(__name__)


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
