"""An ablation of the paper: tune the bases, and leave the coefficients as SAM learned them."""

from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import TRUNK, before_attention
from samparser_monai.methods.spaces import Space, encoder_layers, tune_spectrum
from samparser_monai.spectrum import Step


def bases(
    sam: Sam, space: Space = "neck", decoder: Decoder = "tuned", step: Step = "relative"
) -> Sam:
    """Split weights of the encoder into bases and coefficients, tune the bases U and Vh.

    For the neck of ViT-B 917 504 = 896.0 K numbers, where Table 2 prints 888.7 K.

    Args:
        sam: changed in place, and returned.
        space: which weights, see encoder_layers.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
    """
    layers = encoder_layers(sam.image_encoder, space)
    start(sam, "bases", decoder, step, space=space)
    tune_spectrum(layers, ("u", "vh"), step)
    sam.split = TRUNK if space == "neck" else before_attention(sam.image_encoder)
    return sam
