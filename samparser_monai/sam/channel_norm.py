"""SAM's normalization over channels, through torch's fused kernel."""

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor
from torch.nn import functional as F


class ChannelNorm(LayerNorm2d):
    """The same as SAM's, which goes over the picture seven times.

    The result lies channels last, as convolutions like it best.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return BxCxHxW for BxCxHxW."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
