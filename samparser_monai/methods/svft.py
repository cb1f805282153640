"""SVFT (https://arxiv.org/abs/2405.19597): more entries of U M Vh than those of the diagonal."""

from functools import partial
from typing import Literal, get_args

import numpy as np

from samparser_monai.errors import InputError, unknown
from samparser_monai.methods.entries import Entries, Positions
from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import PROJECTION
from samparser_monai.methods.spaces import encoder_layers, largest_rank, tune_spectrum
from samparser_monai.spectrum import Step

Pattern = Literal["banded", "random"]


def svft(
    sam: Sam,
    band: int = 1,
    pattern: Pattern = "banded",
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Tune a band about the diagonal of M in the neck's convolutions: 1 532 numbers at band 1.

    With band 0 it is the coefficients. M begins as SAM's own, without the paper's gate.

    Args:
        sam: changed in place, and returned.
        band: diagonals on each side of the main one.
        pattern: where the entries are beside the diagonal: ``banded`` in the band, ``random`` as
            many anywhere.
        decoder: what of it is tuned, see start.
        step: how an entry moves, see Entries.
        seed: of the random places; it goes with the tuned part, which does not hold them.
    """
    layers = encoder_layers(sam.image_encoder, "neck")
    limit = largest_rank(layers) - 1
    if not 0 <= band <= limit:
        raise InputError(f"band must be between 0 and {limit}, not {band}")
    if pattern not in get_args(Pattern):
        raise unknown("pattern", pattern, get_args(Pattern))
    start(sam, "svft", decoder, step, band=band, pattern=pattern, seed=seed)
    draw = np.random.RandomState(seed)  # the one generator that numpy promises never to change
    for layer in layers:
        rows, columns = places(largest_rank([layer]), band, pattern, draw)
        tune_spectrum([layer], ("step",), step, partial(Entries, rows=rows, columns=columns))
    sam.split = PROJECTION
    return sam


def places(
    size: int, band: int, pattern: Pattern, draw: np.random.RandomState
) -> tuple[Positions, Positions]:
    """Return rows and columns of the tuned entries of a square matrix, its diagonal among them."""
    offset = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    chosen = offset <= band
    if pattern == "random":
        beside = np.flatnonzero(offset)
        drawn = draw.permutation(len(beside))[: chosen.sum() - size]
        chosen = offset == 0
        chosen.flat[beside[drawn]] = True
    rows, columns = np.nonzero(chosen)
    return rows, columns
