"""The counts of the paper's tables, on the architectures themselves."""

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from samparser_monai.methods import coefficients, count_trainable, count_variants
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
        ("lora", 147_456, DECODER),  # +144 K
        ("fact", 14_592, DECODER),  # +14.25 K, printed 14.3
        ("coefficients_lora", 147_968, DECODER),
        ("adapter", 359_652, DECODER),  # 351.2 K, printed 351.5
        ("full", 89_670_912, DECODER),
    ],
)
def test_vit_b(counts: dict[str, dict[str, int]], variant: str, encoder: int, decoder: int) -> None:
    assert counts[variant] == {"encoder": encoder, "decoder": decoder}


@pytest.mark.parametrize("backbone", ["vit_l", "vit_h", "mobile_sam", "lite_medsam"])
def test_512_on_every_published_backbone(backbone: str) -> None:
    with torch.device("meta"):
        network = coefficients(architecture(backbone))
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
