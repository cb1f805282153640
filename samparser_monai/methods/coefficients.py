"""SAM-PARSER: tune the coefficients of the neck's convolutions, 512 numbers."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import PROJECTION, before_attention
from samparser_monai.methods.spaces import Space, encoder_layers, tune_spectrum
from samparser_monai.spectrum import Step


def coefficients(
    sam: Sam, space: Space = "neck", decoder: Decoder = "tuned", step: Step = "relative"
) -> Sam:
    """Split weights of the encoder into bases and coefficients (Eq. 3), tune the coefficients.

    The bases are frozen. In the neck there are 256 + 256 coefficients, for every published
    backbone. The paper tunes all of the mask decoder beside them (Section 2.2).

    Args:
        sam: changed in place, and returned.
        space: which weights: ``neck`` is the paper's choice, ``transformer`` and ``both`` are the
            other rows of its Table 1: 36 864 and 37 376 numbers for ViT-B.
        decoder: with it ``frozen``, the coefficients are all that is tuned.
        step: how a coefficient moves, see SpectralWeight.
    """
    layers = encoder_layers(sam.image_encoder, space)
    start(sam, "coefficients", decoder, step, space=space)
    tune_spectrum(layers, ("step",), step)
    sam.split = PROJECTION if space == "neck" else before_attention(sam.image_encoder)
    return sam
