"""When a training is judged, and when that ends it."""

import ignite.distributed as idist
import monai.handlers
from ignite.engine import Engine, Events
from tqdm import tqdm


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
