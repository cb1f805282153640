"""When a training is judged, and when that ends it."""

import ignite.distributed as idist
import monai.handlers
from ignite.engine import Engine, Events
from tqdm import tqdm

from samparser_monai.training.epochs import History


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


class EarlyStop:
    """Stop a training whose key metric has not risen for ``patience`` validations.

    It counts them in the history, which a checkpoint keeps: a resumed training ends where an
    unkilled one does, and at once where its patience is spent.
    """

    def __init__(self, history: History, patience: int) -> None:
        self.history, self.patience = history, patience

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it behind the history and behind what resumes it."""
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Stop the trainer where the patience is spent."""
        if self.history.validations_since_best() >= self.patience:
            engine.terminate()
