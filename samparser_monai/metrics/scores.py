"""What scores have in common: rows counted over processes, tables, outlines."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import ignite.distributed as idist
import numpy as np
import pandas as pd
import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced

Masks = Sequence[dict[str, Any]]
"""Of the slices or instances of a picture, each with ``prediction`` and ``truth``."""


def dice(both: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return ``2 |P and T| / (|P| + |T|)`` in percent; NaN (left out) where both are empty.

    Args:
        both: pixels in the prediction and in the truth.
        sizes: pixels of the prediction plus pixels of the truth.
    """
    with np.errstate(invalid="ignore"):
        return 100 * 2 * np.asarray(both, float) / np.asarray(sizes, float)


def gathered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of all processes."""
    if idist.get_world_size() == 1:
        return rows
    shares: list[Any] = [None] * idist.get_world_size()
    torch.distributed.all_gather_object(shares, rows)
    return [row for share in shares for row in share]


def of_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of what boxes have asked for; all where names alone have."""
    boxed = table[~table["by_name"].astype(bool)]
    return boxed if len(boxed) else table


class Outline(NamedTuple):
    """What a picture of a result shows of one thing: its score in percent, and masks HxW."""

    name: str
    score: float
    prediction: np.ndarray
    truth: np.ndarray


class Scores(Protocol):
    """What a report asks of a metric."""

    def summary(self) -> dict[str, float]:
        """Return the score of each thing, and ``mean``."""

    def averages(self) -> dict[str, float]:
        """Return what is compared over prompts of different quality."""

    def sections(self) -> dict[str, dict[str, float]]:
        """Return further summaries by their names."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return tables for files of these names."""

    def overview(self) -> tuple[str, pd.Series, dict[str, pd.Series]]:
        """Return a title, the named counts of the rows, and the columns of a printed table."""

    def outlines(self, judged: Masks) -> tuple[str, list[Outline]]:
        """Return the title of one picture, and what it shows."""


class Counted(Metric):
    """A metric that keeps a row of pixel counts to each thing it has judged."""

    rows: list[dict[str, Any]]

    def __init__(self, output_transform: Callable = lambda output: output["judged"]) -> None:
        super().__init__(output_transform)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all rows."""
        self.rows = []
