"""Which coefficients moved, and what the harness says of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from samparser_monai.errors import InputError
from samparser_monai.harness import read_runs, write_run
from samparser_monai.harness.verdict import verdict
from samparser_monai.methods import coefficients, lora, lora_xs, svft
from samparser_monai.sam import SamNetwork, build
from samparser_monai.spectrum import spectral_parts
from samparser_monai.tuned.spectrum_report import shift, write_spectrum_report

OPTIONS = {"decoder": "frozen", "space": "neck", "backbone": "mobile_sam"}


def test_shift_by_hand() -> None:
    found = shift(torch.tensor([3.0, 4.0, 0.0001]), torch.tensor([3.3, -4.0, 0.0001]))
    assert found["count"] == 3 and found["moved"] == 2 and found["sign_changes"] == 1
    wanted = {"absolute": {"median": 0.3, "max": 8}, "relative": {"median": 0.1, "max": 2}}
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-5)  # differences of float32
    assert found["weight_change"] == pytest.approx((64.09**0.5) / 5, rel=1e-5)


def test_a_coefficient_of_zero_has_not_moved() -> None:
    found = shift(torch.tensor([2.0, 0.0]), torch.tensor([2.0, 0.0]))
    assert found["moved"] == 0 and found["relative"] == {"median": 0.0, "max": 0.0}


@torch.no_grad()
def test_weight_change_is_that_of_the_weight() -> None:
    layer = coefficients(build("tiny")).image_encoder.neck[2]
    before, start = layer.weight.clone(), layer.parametrizations.weight[0].start
    spectral_parts(layer).step.normal_(0, 0.1)
    after = layer.parametrizations.weight[0].coefficients(spectral_parts(layer).step)
    expected = float((layer.weight - before).norm() / before.norm())
    assert shift(start, after)["weight_change"] == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def network() -> SamNetwork:
    network = coefficients(build("tiny"), decoder="frozen")
    step = spectral_parts(network.image_encoder.neck[0]).step
    with torch.no_grad():
        step[3], step[5] = 0.5, -1.5
    return network


def test_report(network: SamNetwork, tmp_path: Path) -> None:
    report = write_spectrum_report(network, {"scenario": "whu"}, tmp_path / "out", tmp_path)
    assert report == json.loads((tmp_path / "out" / "spectrum.json").read_text())
    moved = {name: layer["moved"] for name, layer in report["layers"].items()}
    assert moved == {"image_encoder.neck.0": 2, "image_encoder.neck.2": 0}
    first = report["layers"]["image_encoder.neck.0"]
    assert first["sign_changes"] == 1 and first["relative"]["max"] == pytest.approx(1.5)
    curves = report["coefficients"]["image_encoder.neck.0"]
    assert curves["after"][3] == pytest.approx(1.5 * curves["before"][3])
    assert report["verdict"]["enough"] is None
    assert "run samparser compare --scenario whu" in report["verdict"]["reason"]
    picture = plt.imread(tmp_path / "out" / "spectrum.png")
    assert len({tuple(pixel) for pixel in picture.reshape(-1, 4).round(2).tolist()}) > 10


@pytest.mark.parametrize("method", [lora, lora_xs, svft])
def test_no_coefficients(method: Callable[[Any], Any], tmp_path: Path) -> None:
    network = method(build("tiny"))
    with pytest.raises(InputError, match=rf"'{network.method}' .*tunes no coefficients, or mixes"):
        write_spectrum_report(network, {}, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def cell(folder: Path, method: str, gain: float, seed: int = 0, **more: Any) -> None:
    """Add a run as the harness does."""
    content = {"method": method, "decoder": "frozen", "seed": seed, **more}
    content |= {"published": {"mean": 80.0}, "tuned": {"mean": 80.0 + gain}}
    write_run(folder, f"{len(read_runs(folder))}", content)


@pytest.mark.parametrize(("gain", "enough"), [(5.0, True), (4.6, True), (3.0, False), (-1, False)])
def test_verdict_follows_the_share_of_the_gain(gain: float, enough: bool, tmp_path: Path) -> None:
    for seed in (0, 1):
        cell(tmp_path / "ct", "coefficients", gain + seed, seed)
        cell(tmp_path / "ct", "bases_and_coefficients", 5.0 + seed, seed)
    cell(tmp_path / "ct", "coefficients_lora", 2.0 * gain, seed=7)  # of a seed without its pair
    found = verdict(tmp_path, "ct", OPTIONS)
    assert found["enough"] is enough
    (row,) = found["comparisons"]
    rounding = 1e-12 * 80  # the gains are differences of scores of that size
    assert row["seeds"] == 2 and row["sd"] == pytest.approx(0, abs=rounding)
    assert row["difference"] == pytest.approx(gain - 5, abs=rounding)
    assert row["share"] == pytest.approx((gain + 0.5) / 5.5)
    assert f"coefficients alone gain {gain + 0.5:.2f}" in found["reason"]
    assert ("coefficients_lora" in found["reason"]) is not enough  # the way out


def test_richer_method_that_loses_shows_nothing(tmp_path: Path) -> None:
    cell(tmp_path / "ct", "coefficients", 3.0)
    cell(tmp_path / "ct", "bases_and_coefficients", -3.5)
    found = verdict(tmp_path, "ct", OPTIONS)
    assert found["enough"] is None
    assert "search its encoder_rate" in found["reason"]


def test_only_runs_like_the_tuned_part_count(tmp_path: Path) -> None:
    cell(tmp_path / "ct", "coefficients", 1.0)
    cell(tmp_path / "ct", "coefficients", 2.0)  # at another rate: the best counts
    cell(tmp_path / "ct", "coefficients_lora", 2.0)
    cell(tmp_path / "ct", "coefficients_lora", 9.0, decoder="tuned")
    cell(tmp_path / "ct", "coefficients_lora", 9.0, scenario="whu")
    cell(tmp_path / "ct", "coefficients_lora", 9.0, options={"space": "both"})
    cell(tmp_path / "whu", "bases_and_coefficients", 9.0)  # without coefficients to compare
    for space in ([], ["--space", "neck"]):  # that of a study whose command does not say it
        cell(tmp_path / "ct", "coefficients_lora", 2.0, given=[*space, "--epochs", "1"])
    cell(tmp_path / "ct", "coefficients_lora", 9.0, given=["--backbone", "vit_b"])
    (tmp_path / "about.json").write_text('{"title": "something else"}')
    found = verdict(tmp_path, "ct", OPTIONS)
    assert found["enough"] and [row["share"] for row in found["comparisons"]] == [1.0]
    assert "one seed" in found["reason"]
    assert verdict(tmp_path, "ct", {"decoder": "tuned"})["enough"] is None
    assert verdict(tmp_path, "ct", {**OPTIONS, "space": "both"})["enough"] is None


@pytest.mark.parametrize("line", ["{", "[]", '{"method": "coefficients"}'])
def test_damaged_result_file(line: str, tmp_path: Path) -> None:
    cell(tmp_path, "coefficients", 1.0)
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(InputError, match=r"runs.jsonl, line 2 is no run .*run its cell again"):
        verdict(tmp_path, "ct", OPTIONS)


def test_a_run_is_one_line_and_is_replaced_by_its_cell(tmp_path: Path) -> None:
    for name, value in (("b", 1), ("a", 2), ("b", 3)):
        write_run(tmp_path, name, {"value": value})
    assert (tmp_path / "runs.jsonl").read_text().splitlines() == [
        '{"cell": "a", "value": 2}',
        '{"cell": "b", "value": 3}',
    ]
    assert read_runs(tmp_path) == {"a": {"value": 2}, "b": {"value": 3}}
