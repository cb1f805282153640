"""When a training validates."""

import pytest
from ignite.engine import Engine
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
def test_validates_at_the_interval_and_at_the_end(
    epochs: int, interval: int, judged: list[int]
) -> None:
    class Validator(Evaluator):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def run(self, global_epoch: int = 1) -> None:
            self.epochs.append(global_epoch)

    validator, trainer = Validator(), Engine(lambda engine, batch: None)
    ValidationHandler(interval, validator).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    assert validator.epochs == judged
