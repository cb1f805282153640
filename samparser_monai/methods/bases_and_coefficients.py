"""An ablation of the paper: tune bases and coefficients, the upper bound of its Table 2."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import TRUNK, before_attention
from samparser_monai.methods.spaces import Space, encoder_layers, tune_spectrum
from samparser_monai.spectrum import Step


def bases_and_coefficients(
    sam: Sam, space: Space = "neck", decoder: Decoder = "tuned", step: Step = "relative"
) -> Sam:
    """Split weights of the encoder into bases and coefficients, tune U, p and Vh.

    Args:
        sam: changed in place, and returned.
        space: which weights, see encoder_layers.
        decoder: what of it is tuned, see start.
        step: how a coefficient moves, see SpectralWeight.
    """
    layers = encoder_layers(sam.image_encoder, space)
    start(sam, "bases_and_coefficients", decoder, step, space=space)
    tune_spectrum(layers, ("u", "step", "vh"), step)
    sam.split = TRUNK if space == "neck" else before_attention(sam.image_encoder)
    return sam
