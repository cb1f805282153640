"""LoRA-XS (https://arxiv.org/abs/2405.17604): a small matrix between SAM's own largest bases."""

from functools import partial

import numpy as np

from samparser_monai.errors import InputError
from samparser_monai.methods.entries import Entries
from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import PROJECTION
from samparser_monai.methods.spaces import encoder_layers, largest_rank, tune_spectrum
from samparser_monai.spectrum import Step


def lora_xs(sam: Sam, rank: int = 16, decoder: Decoder = "tuned", step: Step = "relative") -> Sam:
    """Tune R of W + U_r R diag(p_r) Vh_r in the neck's convolutions: 512 numbers at rank 16.

    As many as there are coefficients, and of the same bases: all pairs of the first 16 of each
    side in place of the 256 own pairs. R begins at zero, where the paper draws it with a deviation
    of 1e-5.

    Args:
        sam: changed in place, and returned.
        rank: r, of each convolution; r x r numbers are tuned.
        decoder: what of it is tuned, see start.
        step: with ``absolute`` the update is U_r R Vh_r, see Entries.
    """
    layers = encoder_layers(sam.image_encoder, "neck")
    limit = largest_rank(layers)
    if not 1 <= rank <= limit:
        raise InputError(f"rank must be between 1 and {limit}, not {rank}")
    start(sam, "lora_xs", decoder, step, rank=rank)
    rows, columns = np.indices((rank, rank)).reshape(2, -1)
    tune_spectrum(layers, ("step",), step, partial(Entries, rows=rows, columns=columns))
    sam.split = PROJECTION
    return sam
