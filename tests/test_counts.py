"""The counts of the paper's tables, on the architectures themselves."""

import json
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from samparser_monai.methods import (
    coefficients,
    count_trainable,
    count_variants,
    late_lora,
    lora_xs,
    s_sam,
    svft,
)
from samparser_monai.sam import architecture

SCRIPT = Path(__file__).parents[1] / "scripts" / "count_parameters.py"
DECODER = 4_058_340  # 3963.2 K in the paper, K = 1024


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, int]]:
    return count_variants(partial(architecture, "vit_b"))


@pytest.mark.parametrize(
    ("variant", "encoder", "decoder"),
    [
        ("zero_shot", 0, 0),
        ("decoder_only", 0, DECODER),
        ("decoder_only+coefficients", 0, 8_644),
        ("coefficients", 512, DECODER),  # +0.5 K
        ("coefficients+coefficients", 512, 8_644),
        ("coefficients+frozen", 512, 0),
        ("coefficients@transformer", 36_864, DECODER),
        ("coefficients@both", 37_376, DECODER),
        ("bases", 917_504, DECODER),  # 896.0 K, printed 888.7
        ("bases_and_coefficients", 918_016, DECODER),
        ("norms", 1_024, DECODER),
        ("lora_xs", 512, DECODER),  # 2 x 16 x 16
        ("svft", 1_532, DECODER),  # 2 x (3 x 256 - 2)
        ("late_lora", 36_864, DECODER),
        # scale and shift of 48 linear layers (768 each) and two convolutions (256), 48 norms
        ("s_sam", 2 * (48 * 768 + 2 * 256) + 48 * 768, DECODER),
        ("s_sam@neck", 1_024, DECODER),
        ("salt", 2 * (48 * 760 + 2 * 248) + 50 * 64, DECODER),
        ("lora", 147_456, DECODER),  # +144 K
        ("fact", 14_592, DECODER),  # +14.25 K, printed 14.3
        ("coefficients_lora", 147_968, DECODER),
        ("adapter", 359_652, DECODER),  # 351.2 K, printed 351.5
        ("full", 89_670_912, DECODER),
    ],
)
def test_vit_b(counts: dict[str, dict[str, int]], variant: str, encoder: int, decoder: int) -> None:
    assert counts[variant] == {"encoder": encoder, "decoder": decoder}


@pytest.mark.parametrize(
    ("apply", "count"),
    [
        (partial(lora_xs, rank=8), 128),
        (partial(lora_xs, rank=256), 131_072),
        (partial(svft, band=0), 512),
        (partial(svft, band=2), 2_548),
        (partial(svft, band=2, pattern="random"), 2_548),
        (partial(s_sam, norms=False), 74_752),
        (partial(s_sam, norms=False, position=True), 74_752 + 3_145_728),
        (partial(late_lora, blocks=12), 147_456),  # LoRA's
    ],
)
def test_options_on_vit_b(apply: Callable[[Any], Any], count: int) -> None:
    with torch.device("meta"):
        assert count_trainable(apply(architecture("vit_b")))["encoder"] == count


@pytest.mark.parametrize("backbone", ["vit_l", "vit_h", "mobile_sam", "lite_medsam"])
@pytest.mark.parametrize("apply", [coefficients, lora_xs])
def test_512_on_every_published_backbone(apply: Callable[[Any], Any], backbone: str) -> None:
    with torch.device("meta"):
        network = apply(architecture(backbone))
    assert count_trainable(network) == {"encoder": 512, "decoder": DECODER}


def test_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "counts.json"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--backbone", "tiny", "--json", str(file)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    written = json.loads(file.read_text())
    assert written == count_variants(partial(architecture, "tiny"))
    assert written["coefficients"]["encoder"] == 64  # 32 + 32: the tiny neck
    assert "coefficients@transformer" in capsys.readouterr().out
