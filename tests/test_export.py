"""Other programs' formats give the same masks."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from closeness import assert_near
from conftest import move

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import SamNetwork, architecture, build
from samparser_monai.tuned import transformers as to_transformers
from samparser_monai.tuned.merge import merge
from samparser_monai.tuned.onnx import export_onnx
from samparser_monai.tuned.transformers import export_transformers

BOXES = torch.tensor([[5.0, 9, 60, 70], [0, 0, 127, 90], [30, 30, 90, 90]])
IMAGE = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> Iterator[SamNetwork]:
    with torch.no_grad():
        network = methods.coefficients(build("tiny"))
        move(network)
        yield merge(network)


def test_onnx_runtime_gives_the_same_masks(network: SamNetwork, tmp_path: Path) -> None:
    export_onnx(network, tmp_path, {"labels": {"liver": 1}})
    assert {path.name for path in tmp_path.iterdir()} == {"encoder.onnx", "decoder.onnx"}
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("encoder", "decoder")
    )
    assert json.loads(decoder.get_modelmeta().custom_metadata_map["labels"]) == {"liver": 1}
    (embedding,) = encoder.run(None, {"image": IMAGE.numpy()})
    for count in (1, 2, 3):
        boxes = BOXES[:count]
        logits, iou = decoder.run(None, {"embedding": embedding, "boxes": boxes.numpy()})
        wanted, quality = network.decode(network.image_encoder(IMAGE), [boxes])
        assert_near(logits, wanted)
        assert_near(iou, quality)


def test_transformers_gives_the_same_masks(network: SamNetwork, tmp_path: Path) -> None:
    from transformers import SamModel, SamProcessor

    export_transformers(network, tmp_path)
    model = SamModel.from_pretrained(tmp_path)
    prompts = {"input_boxes": BOXES[None], "multimask_output": False}
    found = model(pixel_values=IMAGE, **prompts).pred_masks[0]
    wanted = network(IMAGE, [BOXES])
    assert_near(found, wanted)

    # its processor brings pictures and boxes into the frame that the network knows
    picture = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    asked = SamProcessor.from_pretrained(tmp_path)(
        picture, input_boxes=[[[1.0, 2.0, 30.0, 40.0]]], return_tensors="pt"
    )
    pixels = asked["pixel_values"]
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    expected = (torch.from_numpy(picture).permute(2, 0, 1) - mean) / std
    assert pixels.shape == (1, 3, 128, 128) and not pixels[0, :, 64:].any()
    assert_near(pixels[0, :, :64], expected)


def test_transformers_has_no_tiny_vit(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = architecture("mobile_sam")
    with pytest.raises(InputError, match=r"backbone='mobile_sam'.*no TinyViT; use `tuned merge`"):
        export_transformers(network, tmp_path)


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (
            lambda n, f: export_onnx(n, f, {}),
            r"needs the package onnx: pip install 'samparser-monai\[export\]'",
        ),
        (
            export_transformers,
            r"transformers is not installed: pip install 'samparser-monai\[export\]'",
        ),
    ],
)
def test_missing_package(
    export: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_transformers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=message):
        export(build("tiny"), tmp_path)
    assert not [*tmp_path.iterdir()]
