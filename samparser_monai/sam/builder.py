"""One function from a backbone's name to the published network."""

from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from samparser_monai.sam.backbones import Backbone, backbone_named
from samparser_monai.sam.checkpoints import load_strictly, published
from samparser_monai.sam.fused import fuse
from samparser_monai.sam.network import SamNetwork


def _assemble(backbone: Backbone) -> SamNetwork:
    width = backbone.embedding
    side = backbone.image_size // backbone.patch
    network = SamNetwork(
        image_encoder=backbone.encoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(side, side),
            input_image_size=(backbone.image_size, backbone.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=width, mlp_dim=8 * width, num_heads=8
            ),
            transformer_dim=width,
        ),
    )
    fuse(network)
    return network


def architecture(backbone: str) -> SamNetwork:
    """Build a backbone's network with seeded random weights, for counting and timing."""
    described = backbone_named(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _assemble(described)
    network.backbone = backbone
    network.base_sha256 = "seeded"
    return network.eval()


def build(backbone: str, checkpoint: str | Path | None = None) -> SamNetwork:
    """Build a backbone's network with its published weights, or with those of ``checkpoint``.

    ``base_sha256`` of the result tells which file the weights came from.

    Raises:
        InputError: unknown backbone; weights that are missing or do not fit.
    """
    network = architecture(backbone)
    if checkpoint is not None or backbone != "tiny":
        network.base_sha256 = load_strictly(network, checkpoint or published(backbone), backbone)
    return network
