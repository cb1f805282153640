"""SAM as published, to be evaluated: nothing is tuned."""

from samparser_monai.methods.parts import Sam, start
from samparser_monai.methods.prefixes import EMBEDDING


def zero_shot(sam: Sam) -> Sam:
    """Freeze all of the network; it is changed in place, and returned."""
    start(sam, "zero_shot", decoder="frozen", step="relative")
    sam.options = {}
    sam.split = EMBEDDING
    return sam
