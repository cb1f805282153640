"""Many scenarios over one trunk answer as so many networks of their own."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from conftest import move
from torch import Tensor, nn

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import BACKBONES, Backbone, SamNetwork, architecture, build
from samparser_monai.sam.tiny_vit import TinyViTEncoder
from samparser_monai.tuned.part import open_tuned, save_tuned
from samparser_monai.tuned.swap import Scenarios

BOXES = [torch.tensor([[5.0, 9, 60, 70], [0, 0, 127, 90]])]
IMAGE = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))


def part(
    path: Path, method: str, seed: int = 0, base: SamNetwork | None = None, **options: Any
) -> Path:
    network = getattr(methods, method)(base or build("tiny"), **options)
    move(network, seed=seed)
    save_tuned(path, network, {}, network.state_dict())
    return path


@torch.no_grad()
@pytest.mark.parametrize(
    "asked",
    [
        [("coefficients", {"decoder": d}) for d in ("frozen", "coefficients", "tuned")],
        [("coefficients", {}), ("decoder_only", {}), ("bases", {"decoder": "frozen"})],
        [("coefficients", {}), ("lora_xs", {}), ("svft", {"pattern": "random"})],
    ],
    ids=["one cut", "different cuts", "different methods"],
)
def test_answers_equal_separate_networks(asked: list, tmp_path: Path) -> None:
    files = {
        f"ct.{n}": part(tmp_path / f"{n}.safetensors", method, seed=n, **options)
        for n, (method, options) in enumerate(asked)
    }
    scenarios, answers = Scenarios(build("tiny"), files), []
    passes = []
    scenarios.networks[0].image_encoder.patch_embed.register_forward_hook(
        lambda *_: passes.append(1)
    )
    features = scenarios.features(IMAGE)
    for name, file in files.items():
        found = scenarios(name, features, BOXES)
        # where cuts differ, sums are made in another order
        assert_near(found, open_tuned(file)[0](IMAGE, BOXES))
        answers.append(found)
    assert len(passes) == 1
    assert not any(torch.equal(answers[0], other) for other in answers[1:])


def numbers(module: nn.Module) -> set[Tensor]:
    return {*module.parameters(), *module.buffers()}


def test_trunk_is_shared_and_nothing_else(tmp_path: Path) -> None:
    files = {n: part(tmp_path / f"{n}.safetensors", "coefficients", 0) for n in "ab"}
    base = build("tiny")
    scenarios = Scenarios(base, files)
    own, first, second = map(numbers, (base, *scenarios.networks))
    neck_and_rest = numbers(base.image_encoder.neck) | numbers(base.mask_decoder)
    shared = own - neck_and_rest - numbers(base.prompt_encoder)
    assert first & second == shared


@pytest.mark.parametrize(
    ("backbone", "method", "options"),
    [
        ("tiny", "lora", {}),
        ("tiny", "coefficients", {"space": "transformer"}),
        ("tiny", "late_lora", {"blocks": 1}),
        ("small_tiny_vit", "lora", {}),  # has a frozen prefix, which ends within the trunk
    ],
)
def test_what_tunes_the_trunk_is_refused(
    backbone: str, method: str, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "small_tiny_vit", Backbone(128, TinyViTEncoder))
    torch.save(architecture(backbone).state_dict(), tmp_path / "base.pth")
    base = build(backbone, tmp_path / "base.pth")
    path = part(tmp_path / "t.safetensors", method, base=copy.deepcopy(base), **options)
    with pytest.raises(InputError, match=rf"t.safetensors: method '{method}' .*tunes the trunk"):
        Scenarios(base, {"ct": path})
    assert base.method == ""  # nothing was done to it


def test_bad_input(tmp_path: Path) -> None:
    path = part(tmp_path / "t.safetensors", "coefficients")
    with pytest.raises(InputError, match="no tuned part is named"):
        Scenarios(build("tiny"), {})
    scenarios = Scenarios(build("tiny"), {"abdomen_ct": path})
    with pytest.raises(InputError, match="unknown scenario 'abdomen'; did you mean 'abdomen_ct'"):
        scenarios("abdomen", scenarios.features(IMAGE))
