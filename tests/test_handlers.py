"""When a training validates."""

import pytest
from ignite.engine import Engine, State
from monai.engines import Evaluator

from samparser_monai.handlers import ValidationHandler


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
