"""The layers of SAM that torch computes faster in one kernel than as SAM writes them."""

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from timm.models.tiny_vit import ConvNorm
from torch import Tensor, nn
from torch.nn import functional as F


class RelativeAttention(Attention):
    """The same sums as SAM's attention, without a matrix of all pairs of positions.

    The score of a query and a key is q.k + q.Rh[row, row'] + q.Rw[column, column']. The last two
    are dot products with the key's row and column as one-hot vectors, so all three are one dot
    product of longer vectors, [q, q.Rh, q.Rw].[k, row', column'], which fused kernels take.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return BxHxWxC for BxHxWxC."""
        rows, columns = x.shape[1:3]
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).flatten(1, 2)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each Bxheadsx(HW)xc
        grid = q.unflatten(2, (rows, columns))
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, get_rel_pos(rows, rows, self.rel_pos_h))
        by_column = torch.einsum(
            "bnhwc,wkc->bnhwk", grid, get_rel_pos(columns, columns, self.rel_pos_w)
        )
        query = torch.cat([q * self.scale, by_row.flatten(2, 3), by_column.flatten(2, 3)], -1)
        position = torch.arange(rows * columns, device=x.device)
        row, column = (
            F.one_hot(index, count).to(k).expand(*k.shape[:2], -1, -1)
            for index, count in ((position // columns, rows), (position % columns, columns))
        )
        key = torch.cat([k, row, column], -1)
        # the kernels want values as wide as keys, and widths that 8 divides
        width = -(-key.shape[-1] // 8) * 8
        query, key, value = (F.pad(t, (0, width - t.shape[-1])) for t in (query, key, v))
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        found = found[..., : v.shape[-1]].transpose(1, 2).flatten(2)
        return self.proj(found.unflatten(1, (rows, columns)))


class ChannelNorm(LayerNorm2d):
    """The same as SAM's, which goes over the picture seven times.

    The result lies channels last, as convolutions like it best.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return BxCxHxW for BxCxHxW."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class FoldedConvNorm(ConvNorm):
    """The same as TinyViT's convolution and its norm, whose statistics are part of SAM's weights.

    A norm that always does the same is a factor and a summand of the convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return BxC'xH'xW' for BxCxHxW."""
        conv, norm = self.conv, self.bn
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = conv.weight * factor[:, None, None, None]
        bias = norm.bias - norm.running_mean * factor
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Attention: RelativeAttention,
    LayerNorm2d: ChannelNorm,
    ConvNorm: FoldedConvNorm,
}


def fuse(network: nn.Module) -> None:
    """Let SAM's own layers compute through fused kernels, in place; parameters stay."""
    for module in network.modules():
        if type(module) in FUSED:
            module.__class__ = FUSED[type(module)]
