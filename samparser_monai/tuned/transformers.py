"""The tuned network as a SamModel of Hugging Face transformers."""

import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError, writable
from samparser_monai.sam import SamNetwork, backbone_named
from samparser_monai.sam.backbones import ViTEncoder

_NAMES = (  # SAM's name -> transformers' name; its own converter is not part of its package
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.blocks\.", ".layers."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(_mlps\.\d|_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(_mlps\.\d|_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(_mlps\.\d|_head)\.layers\.2\.", r"\1.proj_out."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix", ".shared_embedding.positional_embedding"),
)
_SHARED = "shared_image_embedding.positional_embedding"


def transformers_name(name: str) -> str:
    """Return what transformers calls a tensor of SAM."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def transformers_model(network: SamNetwork) -> Any:
    """Return a ``transformers.SamModel`` with the weights of a plain network.

    Raises:
        InputError: the package is missing, or knows no such encoder.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError("transformers is not installed: pip install 'samparser-monai[export]'")
    if not isinstance(network.image_encoder, ViTEncoder):
        raise InputError(
            f"backbone={network.backbone!r}: transformers' SamModel has SAM's ViT encoder alone, "
            "no TinyViT; use `tuned merge` or `tuned onnx`, or a vit_b, vit_l or vit_h"
        )
    from transformers import SamModel

    model = SamModel(_config(network)).eval()
    weights = {transformers_name(name): t for name, t in network.state_dict().items()}
    weights[_SHARED] = weights["prompt_encoder.shared_embedding.positional_embedding"]
    model.load_state_dict(weights)
    return model


def _config(network: SamNetwork) -> Any:
    from transformers import SamConfig

    encoder, described = network.image_encoder, backbone_named(network.backbone)
    width, blocks = encoder.patch_embed.proj.out_channels, encoder.blocks
    sizes = {"image_size": described.image_size, "patch_size": described.patch}
    return SamConfig(
        vision_config={
            **sizes,
            "hidden_size": width,
            "output_channels": described.embedding,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": blocks[0].attn.num_heads,
            "mlp_dim": blocks[0].mlp.lin1.out_features,
            "window_size": max(block.window_size for block in blocks),
            "global_attn_indexes": [n for n, b in enumerate(blocks) if b.window_size == 0],
            "num_pos_feats": described.embedding // 2,
        },
        prompt_encoder_config={**sizes, "hidden_size": described.embedding},
        mask_decoder_config={
            "hidden_size": described.embedding,
            "mlp_dim": 8 * described.embedding,
            "iou_head_hidden_dim": 256,
            "layer_norm_eps": 1e-5,  # of SAM's decoder; transformers' own default is 1e-6
        },
    )


def export_transformers(network: SamNetwork, folder: str | Path) -> None:
    """Write a folder for ``SamModel.from_pretrained`` and ``SamProcessor.from_pretrained``.

    Args:
        network: without a method, or merged.
        folder: of the files; they are written to a temporary folder, then moved.

    Raises:
        InputError: see transformers_model; the folder cannot be written.
    """
    model = transformers_model(network)
    from transformers import SamImageProcessor, SamProcessor

    described, folder = backbone_named(network.backbone), writable("folder", folder)
    pictures = SamImageProcessor(
        size={"longest_edge": described.image_size},
        pad_size={"height": described.image_size, "width": described.image_size},
        mask_size={"longest_edge": described.mask_size},
        image_mean=[value / 255 for value in described.mean],
        image_std=[value / 255 for value in described.std],
    )
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        model.save_pretrained(temporary)
        SamProcessor(pictures).save_pretrained(temporary)
        for path in Path(temporary).iterdir():
            os.replace(path, folder / path.name)
