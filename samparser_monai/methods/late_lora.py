"""LoRA in the last blocks alone: all of the trunk that comes before them stays frozen."""

from samparser_monai.errors import InputError
from samparser_monai.methods.attention import attentions, check_rank
from samparser_monai.methods.lora import add_lora
from samparser_monai.methods.parts import Decoder, Sam, start
from samparser_monai.methods.prefixes import before_last
from samparser_monai.spectrum import Step


def late_lora(
    sam: Sam,
    rank: int = 4,
    blocks: int = 3,
    alpha: float | None = None,
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Add low-rank updates to q and v of the last blocks: 36 864 numbers for ViT-B at rank 4.

    Blocks are those with attention; of a TinyViT the last three lie in its last two stages.

    Args:
        sam: changed in place, and returned.
        rank: of an update, see lora.
        blocks: how many of the last blocks; all of an encoder that has no more.
        alpha: the update is scaled by alpha / rank; the rank itself where it is None.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
        seed: of the updates.
    """
    if blocks < 1:
        raise InputError(f"blocks must be at least 1, not {blocks}")
    layers = attentions(sam.image_encoder)[-blocks:]
    check_rank(rank, layers)
    start(sam, "late_lora", decoder, step, rank=rank, blocks=blocks, alpha=alpha)
    names = {module: name for name, module in sam.image_encoder.named_modules()}
    first = names[layers[0]].removesuffix(".attn")
    sam.split = before_last(sam.image_encoder, first, len(layers))
    add_lora(layers, rank, alpha, seed)
    return sam
