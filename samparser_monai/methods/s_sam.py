"""S-SAM (https://arxiv.org/abs/2408.06447): scale and shift of every spectrum of the encoder."""

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError
from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import PROJECTION, before_attention
from samparser_monai.methods.spaces import Space, encoder_layers, tune_spectrum
from samparser_monai.spectrum import SpectralWeight, Step


class ScaleShift(SpectralWeight):
    """The parametrization W -> (U, s, Vh) with W = U diag(relu(a p + b)) Vh.

    What trains is s (2, r): the step of the scale, which moves as a coefficient does, and the
    shift b.
    """

    def coefficients(self, s: Tensor) -> Tensor:
        """Return what stands for p, (r,), for the steps s (2, r)."""
        scale, shift = s
        return torch.relu(super().coefficients(scale) + shift)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split a weight (out, ...): U, Vh, and no step of scale and shift."""
        u, s, vh = super().right_inverse(weight)
        return u, s.new_zeros(2, len(s)), vh


def s_sam(
    sam: Sam,
    space: Space = "both",
    norms: bool = True,
    position: bool = False,
    decoder: Decoder = "tuned",
    step: Step = "relative",
) -> Sam:
    """Scale and shift the spectra of attention, MLP and neck: 74 752 numbers for ViT-B.

    With the norms of the blocks, as in the authors' code, 111 616. Their text prompts have no place
    beside boxes, and their mask decoder stays frozen but for its norms: ``decoder`` says here.

    Args:
        sam: changed in place, and returned.
        space: which weights, see encoder_layers.
        norms: tune the layer norms of the blocks too, 36 864 numbers.
        position: tune the position embedding of a ViT too. The authors must, whose pictures are
            smaller than SAM's; at SAM's own size it has 3 145 728 numbers.
        decoder: what of it is tuned, see start.
        step: how a scale moves, see SpectralWeight.
    """
    encoder = sam.image_encoder
    layers = encoder_layers(encoder, space)
    if position and getattr(encoder, "pos_embed", None) is None:
        raise InputError(
            f"position=True: {type(encoder).__name__} has no position embedding of the whole "
            "picture, give position=False"
        )
    start(sam, "s_sam", decoder, step, space=space, norms=norms, position=position)
    tune_spectrum(layers, ("step",), step, ScaleShift)
    for module in encoder.modules():
        if norms and isinstance(module, nn.LayerNorm):  # of a neck they are of another type
            module.requires_grad_(True)
    if position:
        encoder.pos_embed.requires_grad_(True)
    of_neck = space == "neck" and not norms and not position
    sam.split = PROJECTION if of_neck else before_attention(encoder)
    return sam
