"""When a training validates, and when it stops."""

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, State
from monai.engines import Evaluator, IterationEvents
from monai.handlers import StatsHandler
from torch import nn

from samparser_monai.errors import InputError
from samparser_monai.training.checkpoints import CheckpointSaver
from samparser_monai.training.stopping import Finite, PlainErrors
from samparser_monai.training.validation import ValidationHandler


@pytest.mark.parametrize(
    ("epochs", "interval", "judged"),
    [
        (6, 2, [2, 4, 6]),
        (5, 2, [2, 4, 5]),  # after the last one too
        (2, 5, [2]),  # a short training ends with a model
        (3, 1, [1, 2, 3]),
    ],
)
def test_validates_at_the_interval_and_at_the_end_and_says_so(
    epochs: int, interval: int, judged: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    class Validator(Evaluator):
        def __init__(self) -> None:
            self.epochs: list[int] = []
            self.state = State(key_metric_name="dsc", metrics={"dsc": 79.123})

        def run(self, global_epoch: int = 1) -> None:
            self.epochs.append(global_epoch)

    validator, trainer = Validator(), Engine(lambda engine, batch: None)
    ValidationHandler(interval, validator).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    assert validator.epochs == judged
    told = [f"after epoch {n} of {epochs}: dsc 79.12 % in validation" for n in judged]
    assert capsys.readouterr().out.splitlines() == told


class Trainer(Engine):
    """An engine with the events of MONAI's, whose batches say what becomes not finite."""

    amp = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__(self._step)
        self.network = network
        self.register_events(*IterationEvents)

    def _step(self, _: Engine, batch: dict) -> None:
        weight = self.network.weight
        nan = float("nan")
        self.state.output = {"loss": torch.tensor(nan if batch["bad"] == "loss" else 1.0)}
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        weight.grad = torch.full_like(weight, nan if batch["bad"] == "gradient" else 1e30)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        with torch.no_grad():
            weight += float("inf") if batch["bad"] == "weight" else 1


@pytest.mark.parametrize("bad", ["loss", "gradient", "weight"])
def test_training_stops_at_what_is_not_finite(bad: str) -> None:
    network = nn.Linear(2, 1)
    start = network.weight.detach().clone()
    trainer = Trainer(network)
    Finite(network, "models").attach(trainer)
    batches = [{"case": [str(n)], "slice": [7], "bad": ""} for n in range(3)]
    trainer.run(batches, max_epochs=2)
    batches[1] |= {"bad": bad}
    with pytest.raises(InputError) as caught:
        trainer.run(batches, max_epochs=2)
    step, case = (3, 2) if bad == "weight" else (2, 1)  # weights are looked at once an epoch
    assert f"a {bad}".replace("a loss", "the loss") in str(caught.value)
    assert f"not finite at step {step} (epoch 1, case '{case}' slice 7)" in str(caught.value)
    if bad != "weight":
        torch.testing.assert_close(network.weight.detach(), start + 7)  # not changed by that step


def test_errors_are_not_printed_with_their_stack(caplog: pytest.LogCaptureFixture) -> None:
    def fail(engine: Engine, batch: object) -> None:
        raise InputError("failed")

    trainer = Engine(fail)
    PlainErrors().attach(trainer)
    StatsHandler().attach(trainer)
    with pytest.raises(InputError, match="failed"):
        trainer.run([0])
    assert "Traceback" not in caplog.text


def test_model_of_a_training_that_failed_is_not_saved(tmp_path: Path) -> None:
    def fail(engine: Engine, batch: object) -> None:
        raise ValueError("failed")

    trainer = Engine(fail)
    save = {"model": nn.Linear(1, 1)}
    saver = CheckpointSaver(str(tmp_path), save, save_final=True, final_filename="model.pt")
    saver.attach(trainer)
    with pytest.raises(ValueError, match="failed"):
        trainer.run([0])
    assert not list(tmp_path.iterdir())
