"""The frozen prefix by another engine: the same features, never those of other weights."""

import copy
import importlib.util
import subprocess
import sys
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


def test_openvino_gives_the_same_features_and_follows_the_weights(tmp_path: Path) -> None:
    network = with_engine(coefficients(build("tiny")), "openvino", tmp_path)
    pictures = images(2)
    found = network.features(pictures)
    assert not torch.equal(found, by_torch(network, pictures))  # it was another engine
    assert_near(found, by_torch(network, pictures))
    (graph,) = tmp_path.iterdir()
    again = copy.deepcopy(network)
    assert torch.equal(again.features(pictures), found)
    assert list(tmp_path.iterdir()) == [graph]  # exported once
    with torch.no_grad():
        again.image_encoder.blocks[0].mlp.lin1.weight *= 2
    assert_near(again.features(pictures), by_torch(again, pictures))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_lower_precision_is_asked_for_or_is_autocasts(tmp_path: Path) -> None:
    """Where a processor has no bfloat16, OpenVINO computes float32."""
    pictures = images(1)
    asked = with_engine(coefficients(build("tiny")), "openvino", tmp_path, "bfloat16")
    network = with_engine(coefficients(build("tiny")), "openvino", tmp_path)
    exact, low = network.features(pictures), asked.features(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.features(pictures), low)
    assert torch.equal(network.features(pictures), exact)
    assert_near(low, exact, 0.05)
    assert len(list(tmp_path.iterdir())) == 1  # one graph for both


CHILD = """
import signal, subprocess, sys
import torch
from samparser_monai.methods import coefficients
from samparser_monai.sam import build
from samparser_monai.sam.engines import with_engine
told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append(1))  # as torch's loaders do
networks = [with_engine(coefficients(build("tiny")), "openvino", sys.argv[1]) for _ in range(2)]
for network in networks:
    network.features(torch.zeros(1, 3, 128, 128))
network = None
while networks:
    networks.pop(0)  # the first graph before the second
subprocess.run([sys.executable, "-c", ""], check=True)
assert told
"""


def test_a_process_outlives_its_children_after_its_graphs_are_gone(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=True)


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'openvino'"):
        with_engine(coefficients(build("tiny")), "openvin", tmp_path)
    with pytest.raises(InputError, match="did you mean 'bfloat16'"):
        with_engine(coefficients(build("tiny")), "openvino", tmp_path, "bfloat")
    with pytest.raises(InputError, match="engine_precision='bfloat16' needs --engine openvino"):
        with_engine(coefficients(build("tiny")), "torch", tmp_path, "bfloat16")
    assert with_engine(full(build("tiny")), "openvino", tmp_path).engine is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '\.\[openvino\]'"):
        with_engine(coefficients(build("tiny")), "openvino", tmp_path)
