"""Two ONNX graphs: the image encoder, and the prompts with the mask decoder."""

import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError, writable
from samparser_monai.sam import SamNetwork, backbone_named

LARGEST = 1.8e9
"""Bytes of weights in one file; ONNX allows two gigabytes."""


class PromptedDecoder(nn.Module):
    """From one image's embedding and N boxes to their masks, as stock SAM computes them.

    SamNetwork counts the boxes of several images in Python, which would fix N in a graph.
    """

    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = network.prompt_encoder, network.mask_decoder

    def forward(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits Nx1xhxw and the predicted IoU Nx1 for an embedding 1xCxhxw."""
        sparse, dense = self.prompt_encoder(points=None, boxes=boxes, masks=None)
        return self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )


def export_onnx(network: SamNetwork, folder: str | Path, about: Mapping[str, Any]) -> None:
    """Write ``encoder.onnx`` and ``decoder.onnx``; ONNX Runtime gives the same masks by them.

    encoder: image 1x3xSxS, normalized and padded -> embedding 1xCxhxw.
    decoder: embedding, boxes Nx4 (XYXY in pixels of that image, N from 1) -> logits Nx1x4hx4w and
    predicted iou Nx1.

    Args:
        network: without a method, or merged; an adapter stays.
        folder: of the files; they are written to a temporary folder, then moved.
        about: what the tuned part belongs to, written into both files.

    Raises:
        InputError: a package is missing, or the folder cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"ONNX needs the package {package}: pip install 'samparser-monai[export]'"
            )
    folder = writable("folder", folder)
    side = backbone_named(network.backbone).image_size
    image, boxes = torch.zeros(1, 3, side, side), torch.tensor([[0.0, 0, side, side]]).repeat(3, 1)
    with torch.no_grad():
        embedding = network.image_encoder(image)
    many = {0: torch.export.Dim("n", min=1)}
    decoder = PromptedDecoder(network).eval()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        graph = {"input_names": ["image"], "output_names": ["embedding"]}
        _write(network.image_encoder, (image,), Path(temporary, "encoder.onnx"), about, **graph)
        graph = {"input_names": ["embedding", "boxes"], "output_names": ["logits", "iou"]}
        path = Path(temporary, "decoder.onnx")
        _write(decoder, (embedding, boxes), path, about, dynamic_shapes=({}, many), **graph)
        for path in Path(temporary).iterdir():
            os.replace(path, folder / path.name)


def _write(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    about: Mapping[str, Any],
    **graph: Any,
) -> None:
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, **graph)
    assert program is not None  # it is where a file is named at once
    program.model.metadata_props.update({key: json.dumps(v) for key, v in about.items()})
    size = sum(parameter.nbytes for parameter in module.parameters())
    program.save(path, external_data=size > LARGEST)
