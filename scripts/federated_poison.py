"""A site that sends what must not be averaged: a filter of its own, by FLARE's privacy.json."""

from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.dxo_filter import DXOFilter

POISONS = {
    1: lambda step: np.full_like(step, np.nan),
    2: lambda step: np.append(step, step),
    3: lambda step: step + 10,
}
"""By the number of the answer, from 0."""


class Poison(DXOFilter):
    """Spoil three of this site's answers: not a number, another shape, too large a step."""

    def __init__(self) -> None:
        super().__init__([DataKind.WEIGHT_DIFF], [DataKind.WEIGHT_DIFF])
        self.answers = 0

    def process_dxo(self, dxo: DXO, shareable: Any, fl_ctx: Any) -> DXO:
        """Return the answer, poisoned when its turn comes."""
        spoil = POISONS.get(self.answers, np.asarray)
        self.answers += 1
        dxo.data = {key: spoil(step) for key, step in dxo.data.items()}
        return dxo
