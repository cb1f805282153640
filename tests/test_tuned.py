"""The tuned part: small, exact, and refused where it does not belong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from conftest import ROOT, move, read_json
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients, decoder_only
from samparser_monai.sam import SamNetwork, architecture, build
from samparser_monai.tuned.part import apply_tuned, load_tuned, open_tuned, read_tuned, save_tuned

ABOUT = {
    "scenario": "abdomen_ct",
    "labels": {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4},
    "window": [-160.0, 240.0],
    "metrics": {"epoch": 25, "loss": 0.1, "dsc": 92.57},
}


def trained(decoder: str = "frozen") -> SamNetwork:
    network = coefficients(build("tiny"), decoder=decoder)
    move(network, 0.1)
    return network


@pytest.mark.parametrize("decoder", ["frozen", "coefficients", "tuned"])
def test_loaded_network_is_the_saved_one(decoder: str, tmp_path: Path) -> None:
    network = trained(decoder)
    save_tuned(tmp_path / "t.safetensors", network, ABOUT, network.state_dict())
    other = coefficients(build("tiny"), decoder=decoder)
    about = load_tuned(tmp_path / "t.safetensors", other)
    assert about.items() >= ABOUT.items() and about["backbone"] == "tiny"
    image = torch.randn(1, 3, 128, 128)
    assert_near(other(image), network(image), share=0)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("coefficients", {"space": "both", "decoder": "coefficients", "step": "log"}),
        ("bases", {"decoder": "frozen"}),
        ("lora", {"rank": 2, "alpha": 3.0}),
        ("fact", {"rank": 3, "scale": 0.5}),
        ("adapter", {"width": 5}),
        ("lora_xs", {"rank": 3}),
        ("svft", {"band": 2, "pattern": "random", "seed": 7}),
        ("s_sam", {"space": "neck", "position": True}),
        ("late_lora", {"blocks": 1, "rank": 2}),
        ("salt", {"rest": 4, "rank": 3}),
        ("full", {"decoder": "frozen"}),
    ],
)
def test_file_tells_how_to_open_it(method: str, options: dict[str, Any], tmp_path: Path) -> None:
    network = getattr(methods, method)(build("tiny"), **options)
    move(network)
    save_tuned(tmp_path / "t.safetensors", network, {}, network.state_dict())
    opened, about = open_tuned(tmp_path / "t.safetensors")
    assert about["method"] == method and about["options"].items() >= options.items()
    assert about["image_size"] == 128 and len(about["mean"]) == len(about["std"]) == 3
    assert about["versions"].keys() == {"samparser_monai", "monai", "torch"}
    image = torch.randn(1, 3, 128, 128)
    assert_near(opened(image), network(image), share=0)


def test_512_numbers_fit_in_4_kilobytes(tmp_path: Path) -> None:
    network = coefficients(architecture("mobile_sam"), decoder="frozen")
    network.base_sha256 = 64 * "f"
    save_tuned(tmp_path / "t.safetensors", network, ABOUT, network.state_dict())
    assert sum(t.numel() for t in load_file(tmp_path / "t.safetensors").values()) == 512
    assert (tmp_path / "t.safetensors").stat().st_size <= 4096


@pytest.fixture
def part(tmp_path: Path) -> Path:
    network = trained()
    save_tuned(tmp_path / "t.safetensors", network, ABOUT, network.state_dict())
    return tmp_path / "t.safetensors"


def rewrite(part: Path, about: dict[str, Any], **tensors: torch.Tensor | None) -> None:
    """Change the metadata of a tuned part, and tensors of it; None removes one."""
    with safe_open(part, framework="pt") as file:
        text = file.metadata() | {key: json.dumps(value) for key, value in about.items()}
    changed = {n: t for n, t in {**load_file(part), **tensors}.items() if t is not None}
    save_file(changed, part, text)


STEP = "image_encoder.neck.{}.parametrizations.weight.original1"


@pytest.mark.parametrize(
    ("about", "tensors", "message"),
    [
        ({}, {STEP.format(0): None}, rf"\(missing: {STEP.format(0)}\): it was made with method"),
        ({}, {"more": torch.ones(2)}, r"does not fit this method \(too many: more\)"),
        ({}, {STEP.format(2): torch.ones(3)}, rf"\(of another shape: {STEP.format(2)}\)"),
        ({}, {STEP.format(0): torch.full((32,), torch.nan)}, "neck.0.* are not finite: train"),
        ({"options": {"decoder": "tuned"}}, {}, r"\(missing: mask_decoder.* and \d+ more\)"),
        ({"options": {"rank": 4}}, {}, "method 'coefficients' does not take the options"),
        ({"options": {"space": "nek"}}, {}, "unknown space 'nek'; did you mean 'neck'"),
        ({"method": "coeficients"}, {}, "method of the tuned part .*did you mean 'coefficients'"),
        ({"backbone": "vit_x"}, {}, "backbone of the tuned part .*: 'vit_x'; did you mean 'vit_"),
        ({"base_sha256": "0123"}, {}, "the base with sha256 0123, this network is seeded: load"),
    ],
)
def test_what_does_not_fit_is_named(
    about: dict[str, Any], tensors: dict[str, Any], message: str, part: Path
) -> None:
    rewrite(part, about, **tensors)
    with pytest.raises(InputError, match=message.replace(".original", r"\.original")) as caught:
        open_tuned(part)
    assert "\n" not in str(caught.value)


def test_refused_where_it_does_not_belong(part: Path) -> None:
    elsewhere = coefficients(build("tiny"), decoder="frozen")
    elsewhere.base_sha256 = "0123"
    with pytest.raises(InputError, match=r"sha256 seeded, this network is 0123"):
        load_tuned(part, elsewhere)
    with pytest.raises(InputError, match=r"missing: mask_decoder.*too many: .*parametrizations"):
        load_tuned(part, decoder_only(build("tiny")))
    with pytest.raises(InputError, match="method 'decoder_only' was applied"):
        apply_tuned(part, decoder_only(build("tiny")))


@pytest.mark.parametrize(
    "content", [None, b"", b"\x08\x00\x00\x00\x00\x00\x00\x00not json", "cut"], ids=str
)
def test_file_that_cannot_be_read(content: bytes | str | None, part: Path) -> None:
    whole = part.read_bytes()
    part.unlink()
    if content is not None:
        part.write_bytes(whole[:40] if isinstance(content, str) else content)
    with pytest.raises(InputError, match=rf"{re.escape(str(part))} cannot be read.*name that one"):
        read_tuned(part)


def test_every_scenario_is_written_under_its_name() -> None:
    scenarios = ROOT / "configs" / "scenarios"
    named = {path.stem: read_json(path).get("scenario") for path in scenarios.glob("*.json")}
    assert read_json(ROOT / "configs" / "train.json")["scenario"] == "abdomen_ct"
    assert all(name == stem for stem, name in named.items() if stem != "abdomen_ct"), named
