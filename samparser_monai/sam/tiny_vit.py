"""The image encoder of MobileSAM and LiteMedSAM: a TinyViT trunk from timm and SAM's neck."""

import re
from typing import Literal

import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, TinyVit, TinyVitBlock
from torch import Tensor, nn


def _neck(channels: int, embedding: int) -> nn.Sequential:
    """Return the neck that ends every SAM encoder: 1x1 and 3x3 convolutions with their norms."""
    return nn.Sequential(
        nn.Conv2d(channels, embedding, kernel_size=1, bias=False),
        LayerNorm2d(embedding),
        nn.Conv2d(embedding, embedding, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(embedding),
    )


class TinyViTEncoder(TinyVit):
    """TinyViT-5M whose last stage keeps the resolution of the one before.

    Args:
        patch: pixels to a side of the embedding: 16 in MobileSAM, 4 in LiteMedSAM, whose stem has
            1x1 convolutions of stride 1.

    Attributes:
        memory_format: of the convolutions; channels last is a fifth faster on a CPU.
    """

    memory_format = torch.channels_last

    def __init__(self, patch: Literal[4, 16] = 16) -> None:
        super().__init__(
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            num_classes=0,
            drop_path_rate=0.0,
        )
        self.head = nn.Identity()  # the classifier of the pre-training
        self.stages[3].downsample.conv2.conv.stride = (1, 1)
        if patch == 4:
            self.patch_embed.conv1.conv = nn.Conv2d(3, 32, kernel_size=1, bias=False)
            self.patch_embed.conv2.conv = nn.Conv2d(32, 64, kernel_size=1, bias=False)
        self.neck = _neck(320, 256)

    def trunk(self, image: Tensor) -> Tensor:
        """Return Bx320x(H/patch)x(W/patch) for a normalized image Bx3xHxW."""
        return self.blocks(self.stem(image))

    def stem(self, image: Tensor) -> Tensor:
        """Return Bx64x(H/4)x(W/4), what the convolutions before the first attention give."""
        return self.stages[0](self.patch_embed(image.contiguous(memory_format=self.memory_format)))

    def blocks(self, features: Tensor) -> Tensor:
        """Return what the trunk makes of the stem's output."""
        return self._forgotten(
            self.stages[1:](features.contiguous(memory_format=self.memory_format))
        )

    def early(self, image: Tensor, last: int) -> Tensor:
        """Return what comes before the ``last`` transformer blocks, BxhxwxC."""
        x = self.stem(image).permute(0, 2, 3, 1)
        for part in self._parts()[: self._cut(last)]:
            x = _apart(part, x)
        return self._forgotten(x)

    def late(self, x: Tensor, last: int) -> Tensor:
        """Return what the ``last`` transformer blocks make of it, the trunk's output."""
        for part in self._parts()[self._cut(last) :]:
            x = _apart(part, x)
        return self._forgotten(x.permute(0, 3, 1, 2))

    def _parts(self) -> list[nn.Module]:
        """Return the blocks behind the stem, and the layers between their stages."""
        return [part for stage in self.stages[1:] for part in (stage.downsample, *stage.blocks)]

    def _cut(self, last: int) -> int:
        parts = self._parts()
        blocks = [n for n, part in enumerate(parts) if isinstance(part, TinyVitBlock)]
        return blocks[-last] if last else len(parts)

    def _forgotten(self, features: Tensor) -> Tensor:
        # timm keeps the gathered attention biases for the next pass in eval mode, where the encoder
        # always is. They would be stale once the biases are tuned.
        for module in self.modules():
            if isinstance(module, Attention):
                module.attention_bias_cache = {}
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding Bx256x(H/patch)x(W/patch) for a normalized image Bx3xHxW."""
        return self.neck(self.trunk(image))


def _apart(part: nn.Module, x: Tensor) -> Tensor:
    """Return what a block, or a layer between two stages, makes of BxhxwxC."""
    if isinstance(part, TinyVitBlock):
        return part(x)
    return part(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


_NAMES = (  # published name -> timm's name
    (r"\.layers\.(\d)\.downsample\.", lambda m: f".stages.{int(m[1]) + 1}.downsample."),
    (r"\.layers\.", ".stages."),
    (r"\.patch_embed\.seq\.0\.", ".patch_embed.conv1."),
    (r"\.patch_embed\.seq\.2\.", ".patch_embed.conv2."),
    (r"\.c\.", ".conv."),
)
_CLASSIFIER = ("image_encoder.norm_head.", "image_encoder.head.")


def own_name(published: str) -> str:
    """Return the name here of a tensor of a published SAM; but for TinyViT's they are the same."""
    if published.startswith("image_encoder."):
        for pattern, replacement in _NAMES:
            published = re.sub(pattern, replacement, published)
    return published


def rename_published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the published tensors of a TinyViT SAM the names they have here.

    The classifier of the pre-training, which MobileSAM's file carries unused, is left out.
    """
    return {own_name(n): tensor for n, tensor in weights.items() if not n.startswith(_CLASSIFIER)}
