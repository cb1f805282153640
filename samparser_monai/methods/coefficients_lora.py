"""SAM's own bases and new ones: the way out that the paper names for its failure on radar ships."""

from samparser_monai.methods.attention import attentions, check_rank
from samparser_monai.methods.lora import add_lora
from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import before_attention
from samparser_monai.methods.spaces import encoder_layers, tune_spectrum
from samparser_monai.spectrum import Step


def coefficients_lora(
    sam: Sam,
    rank: int = 4,
    alpha: float | None = None,
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Tune the coefficients of the neck, and add low-rank updates to the attention before it.

    Args:
        sam: changed in place, and returned.
        rank: of an update, see lora.
        alpha: the update is scaled by alpha / rank; the rank itself where it is None.
        decoder: what of it is tuned, see start.
        step: how a coefficient moves, see SpectralWeight.
        seed: of the updates.
    """
    layers = attentions(sam.image_encoder)
    check_rank(rank, layers)
    start(sam, "coefficients_lora", decoder, step, rank=rank, alpha=alpha)
    sam.split = before_attention(sam.image_encoder)
    tune_spectrum(encoder_layers(sam.image_encoder, "neck"), ("step",), step)
    add_lora(layers, rank, alpha, seed)
    return sam
