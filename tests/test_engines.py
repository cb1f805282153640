"""The frozen prefix by another engine: the same features, never those of other weights."""

import importlib.util
from pathlib import Path

import pytest
import torch
from closeness import assert_near

from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients, full
from samparser_monai.sam import SamNetwork, build
from samparser_monai.sam.engines import with_engine


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 128, 128, generator=torch.Generator().manual_seed(0))


def by_torch(network: SamNetwork, pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.split.prefix(network.image_encoder, pictures)


def test_onnx_runtime_gives_the_same_features_and_follows_the_weights(tmp_path: Path) -> None:
    network = with_engine(coefficients(build("tiny")), "onnxruntime", tmp_path)
    pictures = images(2)
    found = network.features(pictures)
    assert not torch.equal(found, by_torch(network, pictures))  # it was another engine
    assert_near(found, by_torch(network, pictures))
    (graph,) = tmp_path.iterdir()
    again = with_engine(coefficients(build("tiny")), "onnxruntime", tmp_path)
    assert torch.equal(again.features(pictures), found)
    assert list(tmp_path.iterdir()) == [graph]  # exported once
    with torch.no_grad():
        again.image_encoder.blocks[0].mlp.lin1.weight *= 2
    assert_near(again.features(pictures), by_torch(again, pictures))
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        with_engine(coefficients(build("tiny")), "onnxruntim", tmp_path)
    assert with_engine(full(build("tiny")), "onnxruntime", tmp_path).engine is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '\.\[export\]'"):
        with_engine(coefficients(build("tiny")), "onnxruntime", tmp_path)
