"""What a tracked run keeps beside its numbers, where ``--tracking mlflow`` is given."""

from collections.abc import Iterable
from pathlib import Path

from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.handlers import MLFlowHandler


class ListedOutput:
    """Make an engine's output the list of one item.

    MONAI's trackers read a decollated output, a list. A batch of several pictures' instances
    cannot be decollated, so the whole of it is the item.
    """

    def attach(self, engine: Engine) -> None:
        """Listen to the engine."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Wrap the output."""
        engine.state.output = [engine.state.output]


class TrackedFiles:
    """Log files as artifacts of the engine's MLflow run; without a run, do nothing.

    MONAI adds its MLFlowHandler behind all others and lets it log one path. Here it gets the
    files that are there when the engine has completed, or when this is called.

    Args:
        paths: files, and folders of which every file is logged.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = [Path(path) for path in paths]

    def attach(self, engine: Engine) -> None:
        """Listen to the engine; attach it behind what writes the files."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Log the files."""
        for handler, *_ in engine._event_handlers[Events.STARTED]:
            tracker = getattr(handler, "__self__", None)
            if isinstance(tracker, MLFlowHandler) and tracker.cur_run:
                for path in self.paths:
                    log = (
                        tracker.client.log_artifacts
                        if path.is_dir()
                        else tracker.client.log_artifact
                    )
                    if path.exists():
                        log(tracker.cur_run.info.run_id, str(path))
