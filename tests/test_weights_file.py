"""Checkpoints as trainings leave them: the same weights, or one line that says what it is."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from samparser_monai.errors import InputError
from samparser_monai.sam import architecture, build

WEIGHTS = architecture("tiny").state_dict()
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]}
EXAMPLE = "image_encoder.neck.0.weight"


def prefixed(prefix: str, weights: dict[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def part(name: str) -> dict[str, Tensor]:
    return {n: t for n, t in WEIGHTS.items() if n.startswith(f"{name}.")}


READ: dict[str, Any] = {
    "plain": WEIGHTS,
    "module.": prefixed("module."),
    "model, optimizer beside": {"model": WEIGHTS, "optimizer": OPTIMIZER, "epoch": 3},
    "model of DDP": {"model": prefixed("module."), "args": argparse.Namespace(lr=1e-4)},
    "state_dict": {"state_dict": WEIGHTS, "best": np.float64(3)},
    "lightning": {"state_dict": prefixed("model.") | {"loss.weight": torch.ones(1)}},
    "wrapped twice": {"checkpoint": {"net": prefixed("sam_model.")}},
    "compiled encoder": {
        n.replace("encoder.", "encoder._orig_mod."): t for n, t in WEIGHTS.items()
    },
    "by its parts": {
        name: {n.partition(".")[2]: t for n, t in part(name).items()}
        for name in ("image_encoder", "prompt_encoder", "mask_decoder")
    },
    "optimizer beside the tensors": {**WEIGHTS, "optimizer": OPTIMIZER},
    "SAM's constants": {**WEIGHTS, "pixel_mean": torch.tensor([123.675, 116.28, 103.53])},
}


@pytest.mark.parametrize("name", READ)
def test_wrappers_and_prefixes_are_taken_off(name: str, tmp_path: Path) -> None:
    torch.save(READ[name], tmp_path / "w.pth")
    found = build("tiny", tmp_path / "w.pth").state_dict()
    for key, tensor in WEIGHTS.items():
        assert torch.equal(found[key], tensor)


def test_half_precision_and_safetensors_are_read(tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in WEIGHTS.items()}, tmp_path / "w.safetensors")
    found = build("tiny", tmp_path / "w.safetensors").state_dict()
    assert torch.equal(found[EXAMPLE], WEIGHTS[EXAMPLE].half().float())


def test_other_constants_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({**WEIGHTS, "pixel_std": torch.ones(3, 1, 1)}, tmp_path / "w.pth")
    build("tiny", tmp_path / "w.pth")
    assert "has pixel_std [1.0, 1.0, 1.0], pictures are prepared with" in caplog.text


def saved(content: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)), path)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "whole module": (saved(nn.Linear(1, 1)), "torch.nn.modules.linear.Linear, which is code"),
    "TorchScript": (scripted, "it is TorchScript; save the state_dict"),
    "web page": (lambda path: path.write_text("<html>404</html>"), "it is a web page"),
    "cut": (lambda path: path.write_bytes(b"PK damaged"), "it is damaged, or no file of torch"),
    "no tensors": (saved({"epoch": 3}), "does not hold a dictionary of tensors"),
    "two networks": (
        saved({"model": WEIGHTS, "model_ema": WEIGHTS}),
        "holds several networks, under 'model', 'model_ema'",
    ),
    "teacher and student": (
        saved({"model": prefixed("student.") | prefixed("teacher.")}),
        "several networks, under 'model/student', 'model/teacher'",
    ),
    "transformers": (
        saved({"vision_encoder.pos_embed": torch.ones(1)}),
        "the names of transformers' SamModel",
    ),
    "another network": (
        saved({"state_dict": {"backbone.conv.weight": torch.ones(1)}}),
        "tensors named 'state_dict/backbone.conv.weight', but none of image_encoder",
    ),
    "decoder alone": (saved(part("mask_decoder")), "no image_encoder.* and no prompt_encoder.*"),
    "NaN": (
        saved({**WEIGHTS, EXAMPLE: WEIGHTS[EXAMPLE] * float("nan")}),
        f"not finite, in '{EXAMPLE}'",
    ),
    "layers of its own": (
        saved({"model": prefixed("module.") | {"module.adapter.weight": torch.ones(1)}}),
        "the first is 'adapter.weight' with shape (1,) where none is wanted",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    make(tmp_path / "w.pth")
    with pytest.raises(InputError) as caught:
        build("tiny", tmp_path / "w.pth")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_torchscript_is_refused_with_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which is replaced
    with pytest.raises(InputError, match=r"no TorchScript.*samparser tuned onnx"):
        torch.jit.script(build("tiny"))
