"""A site that sends what must not be averaged: a filter of its own, by FLARE's privacy.json."""

import numpy as np
from nvflare.apis.dxo import DataKind
from nvflare.apis.dxo_filter import DXOFilter

POISONS = {
    1: ("not a number", lambda step: np.full_like(step, np.nan)),
    2: ("another shape", lambda step: np.append(step, step)),
    3: ("too large a step", lambda step: step + 10),
}
"""By the number of the answer, from 0."""


class Poison(DXOFilter):
    """Spoil this site's second to fourth answers."""

    def __init__(self) -> None:
        super().__init__([DataKind.WEIGHT_DIFF], [DataKind.WEIGHT_DIFF])
        self.answers = 0

    def process_dxo(self, dxo, shareable, fl_ctx):  # noqa: ANN001, ANN201
        """Return the poisoned answer."""
        name, spoil = POISONS.get(self.answers, ("", np.asarray))
        self.answers += 1
        if name:
            dxo.data = {key: spoil(step) for key, step in dxo.data.items()}
        return dxo
