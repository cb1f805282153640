"""Adapter (https://arxiv.org/abs/1902.00751): a bottleneck behind every attention layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from samparser_monai.errors import InputError
from samparser_monai.methods.attention import attentions
from samparser_monai.methods.parts import Decoder, Sam, seeded, start
from samparser_monai.methods.prefixes import before_attention
from samparser_monai.spectrum import Step


class Bottleneck(nn.Module):
    """x -> up(relu(down(x))), of any shape (..., C); ``up`` is zero at the start."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, width)
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to x."""
        return self.up(F.relu(self.down(x)))

    def behind(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Add to the output of a layer: torch's signature of a forward hook."""
        return output + self(output)


def adapter(
    sam: Sam,
    width: int = 19,
    decoder: Decoder = "tuned",
    step: Step = "relative",
    seed: int = 0,
) -> Sam:
    """Put a bottleneck between attention and its sum, the place that Section 3.1 names.

    The names of SAM's own weights stay: a bottleneck is a child of its attention layer, and a
    forward hook. 359 652 = 351.2 K numbers for ViT-B at width 19, the nearest to the 351.5 K of
    Table 4, which no uniform adapter gives.

    Args:
        sam: changed in place, and returned.
        width: of a bottleneck.
        decoder: what of it is tuned, see start.
        step: how a coefficient of the decoder moves.
        seed: of the projections down.
    """
    if width < 1:
        raise InputError(f"width must be at least 1, not {width}")
    layers = attentions(sam.image_encoder)
    start(sam, "adapter", decoder, step, width=width)
    sam.split = before_attention(sam.image_encoder)
    with seeded(seed):
        for layer in layers:
            bottleneck = Bottleneck(layer.proj.out_features, width).to(layer.proj.weight)
            layer.adapter = bottleneck
            layer.register_forward_hook(bottleneck.behind)
    return sam
