"""The backbones by name: how large their pictures are, how pixels are scaled, how they are built.

This is the only place that knows these numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from samparser_monai.errors import unknown
from samparser_monai.sam.tiny_vit import TinyViTEncoder


class ViTEncoder(ImageEncoderViT):
    """SAM's own image encoder, its trunk callable apart from its neck."""

    def trunk(self, image: Tensor) -> Tensor:
        """Return BxCx(H/16)x(W/16) for a normalized image Bx3xHxW."""
        return self.late(self.early(image, 0), 0)

    def early(self, image: Tensor, last: int) -> Tensor:
        """Return what comes before the ``last`` blocks, Bx(H/16)x(W/16)xC."""
        x = self.patch_embed(image)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks[: len(self.blocks) - last]:
            x = block(x)
        return x

    def late(self, x: Tensor, last: int) -> Tensor:
        """Return what the ``last`` blocks make of it, the trunk's output."""
        for block in self.blocks[len(self.blocks) - last :]:
            x = block(x)
        return x.permute(0, 3, 1, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Return the embedding Bx256x(H/16)x(W/16) for a normalized image Bx3xHxW."""
        return self.neck(self.trunk(image))


def _vit(
    width: int,
    depth: int,
    heads: int,
    global_blocks: tuple[int, ...],
    *,
    size: int = 1024,
    embedding: int = 256,
) -> nn.Module:
    return ViTEncoder(
        img_size=size,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        out_chans=embedding,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=global_blocks,
    )


@dataclass(frozen=True)
class Backbone:
    """What distinguishes one SAM from another.

    Attributes:
        image_size: side of the square model input, in pixels.
        patch: pixels of the input to a side of one position of the embedding.
        mean, std: of the pixels 0..255, for each of the three channels.
        encoder: builds the image encoder.
        embedding: channels of the embedding, in the decoder too.
    """

    image_size: int
    encoder: Callable[[], nn.Module]
    patch: int = 16
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    embedding: int = 256

    @property
    def mask_size(self) -> int:
        """Side of the square low-resolution masks, in pixels."""
        return 4 * self.image_size // self.patch


BACKBONES = {
    "vit_b": Backbone(1024, lambda: _vit(768, 12, 12, (2, 5, 8, 11))),
    "vit_l": Backbone(1024, lambda: _vit(1024, 24, 16, (5, 11, 17, 23))),
    "vit_h": Backbone(1024, lambda: _vit(1280, 32, 16, (7, 15, 23, 31))),
    "mobile_sam": Backbone(1024, lambda: TinyViTEncoder(patch=16)),
    "lite_medsam": Backbone(
        256, lambda: TinyViTEncoder(patch=4), patch=4, mean=(0, 0, 0), std=(255, 255, 255)
    ),
    # for tests: every part is there, nothing is pretrained
    "tiny": Backbone(128, lambda: _vit(32, 2, 2, (1,), size=128, embedding=32), embedding=32),
}


def backbone_named(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises:
        InputError: there is none.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]
