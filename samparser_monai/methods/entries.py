"""Combinations of SAM's own bases that are not paired: entries beside the diagonal."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from samparser_monai.spectrum import SpectralWeight, Step

Positions = np.ndarray[Any, Any]


class Entries(SpectralWeight):
    """The parametrization W -> (U, s, Vh) with W = U M Vh, some entries of M tuned.

    On the diagonal an entry moves as a coefficient does. Beside it one that is in row i and
    column j starts at zero and is s p_j, or s itself where the step is absolute.

    Args:
        step: see SpectralWeight.
        rows: of the entries, (n,).
        columns: of the entries, (n,).
    """

    rows: Tensor
    columns: Tensor
    diagonal = False

    def __init__(self, step: Step, rows: Positions, columns: Positions) -> None:
        super().__init__(step)
        # whoever makes the parametrization knows them: they are in no file
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)

    def mix(self, u: Tensor, s: Tensor) -> Tensor:
        """Return U M, (out, r), for s (n,)."""
        size = len(self.start)
        entries = s.new_zeros(size, size).index_put((self.rows, self.columns), s)
        own = entries.diagonal()
        beside = entries - own.diag()
        if self.step != "absolute":
            beside = beside * self.start
        return super().mix(u, own) + u @ beside

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split a weight (out, ...): U, Vh, and no step of any entry."""
        u, s, vh = super().right_inverse(weight)
        self.to(weight.device)
        return u, s.new_zeros(len(self.rows)), vh
