"""The shipped configs from end to end: training, resuming after a kill, evaluating."""

import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from closeness import assert_near
from conftest import ROOT, read_json, run, started, workflow

from samparser_monai.methods import coefficients
from samparser_monai.sam import build
from samparser_monai.tuned.part import open_tuned, save_tuned

METHODS = sorted(path.stem for path in (ROOT / "configs" / "methods").glob("*.json"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def test_contract_holds(dataset: Path, overrides: dict) -> None:
    flow = workflow("train", "train", **overrides, dataset_dir=str(dataset))
    flow.initialize()
    assert not flow.check_properties()


def test_training_then_evaluating(dataset: Path, overrides: dict, tmp_path: Path) -> None:
    overrides |= {"dataset_dir": str(dataset), "epochs": 8, "decoder_rate": 3e-3}
    run("train", "train", run_id="training", **overrides)
    report = read_json(tmp_path / "eval" / "training.json")
    assert report["encoder_trainable"] == 64  # two convolutions of 32 channels
    assert report["steps"] == 8 * 12  # epochs, and six slices of two of the three cases
    assert [row["epoch"] for row in report["epochs"]] == list(range(1, 9))
    assert report["epochs"][-1]["loss"] < report["epochs"][0]["loss"]

    run("train", "train", "evaluate", run_id="evaluating", **overrides)
    summary = read_json(tmp_path / "eval" / "summary.json")
    assert summary["published"].keys() == summary["tuned"].keys() == {"liver", "kidney", "mean"}
    best = max(row["dsc"] for row in report["epochs"])
    assert summary["tuned"]["mean"] == pytest.approx(best, abs=0.006)  # rounded to two digits
    assert summary["tuned"]["mean"] > summary["published"]["mean"]
    assert summary["steps"] == report["steps"]
    cases = pd.read_csv(tmp_path / "eval" / "metrics.csv")
    assert set(cases["model"]) == {"published", "tuned"} and set(cases["slices"]) == {6}
    assert len(list((tmp_path / "eval" / "overlays").glob("*.png"))) == 6
    assert (tmp_path / "eval" / "curve.png").stat().st_size > 1000

    tuned, about = open_tuned(tmp_path / "models" / "tuned.safetensors")
    assert about["metrics"]["dsc"] == best and about["scenario"] == "abdomen_ct"
    assert about["labels"]["kidney"] == 2 and about["window"] == [-160, 240]
    for name, tensor in weights(tmp_path / "models" / "model.pt").items():
        assert_near(tuned.state_dict()[name], tensor, share=0)


def test_a_summary_tells_of_no_other_training(
    dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"dataset_dir": str(dataset), "epochs": 1, "val_interval": 0, "decoder": "frozen"}
    run("train", "train", "methods/lora", run_id="training", **overrides | {"rank": 2})
    other = tmp_path / "other.safetensors"
    network = coefficients(build("tiny"), decoder="frozen")
    save_tuned(other, network, {}, network.state_dict())
    overrides |= {"with_published": False, "pictures": 0, "box_shifts": [0.0]}
    told = {}
    for model, files, more in (
        ("own", ["train", "methods/lora"], {"rank": 2}),
        ("other", ["train"], {"tuned": str(other)}),
        ("published", ["train", "methods/zero_shot"], {}),
    ):
        run("train", *files, "evaluate", run_id="evaluating", **overrides | more)
        summary = read_json(tmp_path / "eval" / "summary.json")
        assert summary["decoder_trainable"] == 0
        told[model] = [summary[key] for key in ("encoder_trainable", "steps", "seconds")]
    report = read_json(tmp_path / "eval" / "training.json")
    assert told == {
        "own": [report[key] for key in ("encoder_trainable", "steps", "seconds")],
        "other": [64, None, None],
        "published": [0, None, None],
    }


def test_run_id_of_slicer_trains_once(dataset: Path, overrides: dict, tmp_path: Path) -> None:
    run("train", "train", run_id="", **overrides, dataset_dir=str(dataset))
    assert read_json(tmp_path / "eval" / "training.json")["steps"] == 2 * 12


@pytest.mark.parametrize("names", [False, True])
def test_what_is_asked_for_by_clicks_trains_too(
    names: bool, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {
        "dataset_dir": str(dataset),
        "names": names,
        "augmentation": [],
        "val_interval": 0,
    }
    found = []
    for share in (0.0, 1.0):
        own = {**overrides, "click_share": share, "ckpt_dir": str(tmp_path / f"models_{share}")}
        run("train", "train", run_id="training", **own)
        found.append(weights(tmp_path / f"models_{share}" / "model.pt"))
    one, other = (of["mask_decoder.mask_tokens.weight"] for of in found)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("decoder", ["tuned", "frozen"])
def test_only_what_is_named_trains(
    decoder: str, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"dataset_dir": str(dataset), "decoder": decoder}
    before = workflow("train", "train", **overrides)
    before.initialize()
    start = {
        name: tensor.clone()
        for name, tensor in before.parser.get_parsed_content("network").state_dict().items()
    }
    run("train", "train", run_id="training", **overrides)
    moved = {
        n for n, t in weights(tmp_path / "models" / "model.pt").items() if (t != start[n]).any()
    }
    steps = {f"image_encoder.neck.{n}.parametrizations.weight.original1" for n in (0, 2)}
    assert {name for name in moved if not name.startswith("mask_decoder")} == steps
    assert (decoder == "tuned") == (len(moved) > 2)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "zero_shot"])
def test_every_method_trains_through_its_overlay(
    method: str, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"dataset_dir": str(dataset), "epochs": 1}
    run("train", "train", f"methods/{method}", run_id="training", **overrides)
    assert (tmp_path / "models" / "model.pt").exists()


def test_without_validation_the_last_epoch_is_kept(
    dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    flow = run(
        *("train", "train"),
        run_id="training",
        **overrides | {"val_interval": 0, "dataset_dir": str(dataset)},
    )
    last = flow.parser.get_parsed_content("network").state_dict()
    for name, tensor in weights(tmp_path / "models" / "model.pt").items():
        assert_near(tensor, last[name], share=0)
    assert (tmp_path / "models" / "tuned.safetensors").exists()
    assert all("dsc" not in row for row in read_json(tmp_path / "eval" / "training.json")["epochs"])


def test_killed_training_ends_like_an_uninterrupted_one(
    dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"dataset_dir": str(dataset), "epochs": 6, "val_interval": 2}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train = partial(run, "train", "train", run_id="training")
    train(**overrides | {"bundle_root": str(whole)})

    overrides["bundle_root"] = str(broken)
    process = started(train, **overrides)
    third = broken / "models" / "checkpoint_epoch=3.pt"
    while not third.exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (broken / "models" / "checkpoint_epoch=6.pt").exists()
    train(**overrides, resume=True)

    for name in ("model.pt", "checkpoint_epoch=6.pt"):
        one, other = (weights(folder / "models" / name) for folder in (whole, broken))
        one, other = one.get("network", one), other.get("network", other)
        for tensor in one:
            assert_near(one[tensor], other[tensor], share=0)
    one, other = (read_json(f / "eval" / "training.json")["epochs"] for f in (whole, broken))
    assert one == other


@pytest.mark.parametrize("epochs_before", [2, 9])
def test_training_stops_when_validation_no_longer_gains_resumed_or_not(
    epochs_before: int, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"coefficient_rate": 1e-12, "decoder_rate": 1e-12, "patience": 2}
    train = partial(run, "train", "train", run_id="training", dataset_dir=str(dataset), **overrides)

    def trained() -> list[int]:
        return [row["epoch"] for row in read_json(tmp_path / "eval" / "training.json")["epochs"]]

    train(epochs=epochs_before)
    assert trained() == list(range(1, min(epochs_before, 3) + 1))
    train(epochs=9, resume=True)
    assert trained() == [1, 2, 3]
