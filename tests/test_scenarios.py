"""Every shipped scenario from its files to its results, in the true layouts, by the one road."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, make_dataset, read_json, run
from layouts import LAYOUTS, SIZE, overlay
from PIL import Image
from pycocotools import mask as coco

SCENARIOS = ["abdomen_ct", *LAYOUTS]
MAKE = LAYOUTS | {"abdomen_ct": lambda root: {"dataset_dir": str(make_dataset(root))}}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_trains_and_is_judged(scenario: str, tmp_path: Path, overrides: dict) -> None:
    overrides |= MAKE[scenario](tmp_path / "data") | {"epochs": 1, "pictures": 1}
    training = {key: value for key, value in overrides.items() if key != "pictures"}
    files = ("train", overlay(scenario))
    run("train", *files, run_id="training", **training)
    run("train", *files, "evaluate", run_id="evaluating", **overrides)

    summary = read_json(tmp_path / "eval" / "summary.json")
    assert summary["published"].keys() == summary["tuned"].keys()
    value = "dsc" if scenario == "abdomen_ct" else "miou"
    for model in ("published", "tuned"):
        assert list(summary[value][model]) == ["0", "20", "50"]
        assert summary[value][model]["20"] == summary[model]["mean"]
    history = read_json(tmp_path / "eval" / "training.json")["epochs"]
    rounding = 0.006  # the summary has two digits, whatever the size
    assert summary["tuned"]["mean"] == pytest.approx(history[-1][value], abs=rounding)
    assert len(list((tmp_path / "eval" / "overlays").glob("*.png"))) == 1
    if scenario != "abdomen_ct":
        instances = pd.read_csv(tmp_path / "eval" / "instances.csv")
        assert set(instances["model"]) == {"published", "tuned"}
        means = instances.groupby("model")[["iou", "f1"]].mean()
        assert means.loc["tuned", "iou"] == pytest.approx(
            summary["miou"]["tuned"]["20"], abs=rounding
        )
        assert means.loc["tuned", "f1"] == pytest.approx(summary["f1"]["tuned"]["20"], abs=rounding)


OVERLAYS = sorted((ROOT / "configs" / "scenarios").glob("*.json"), key=lambda path: path.stem)
OWN = {"scenario", "items", "min_area", "train_share", "held_out", "inputs"}


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_overlay_knows_its_name_and_pictures_are_alike(path: Path) -> None:
    content = read_json(path)
    assert content["scenario"] == path.stem
    if path.stem != "abdomen_ct":
        like = read_json(path.with_name("coco.json"))
        for key in like.keys() - OWN:
            assert content[key] == like[key]


def test_whu_counts_tiles_without_buildings(tmp_path: Path, overrides: dict) -> None:
    overrides |= LAYOUTS["whu"](tmp_path / "data") | {"epochs": 1}
    run("train", "train", "scenarios/whu", run_id="training", **overrides)
    run("train", "train", "scenarios/whu", "evaluate", run_id="evaluating", **overrides)
    assert read_json(tmp_path / "eval" / "summary.json")["empty_pictures"] == {
        "train": 1,
        "validation": 1,
    }
    assert read_json(tmp_path / "eval" / "training.json")["steps"] == 3


def test_pictures_get_their_instances(tmp_path: Path, overrides: dict) -> None:
    """A foreign COCO file trains by paths alone, and its model segments from boxes."""
    LAYOUTS["nwpu"](tmp_path / "data")
    images, annotations = tmp_path / "data" / "positive image set", tmp_path / "data"
    run(
        "train",
        "train",
        "scenarios/custom",
        run_id="training",
        **overrides | {"epochs": 1},
        images=str(images),
        annotations=str(annotations / "annotations.json"),
    )
    boxes = {"000001": [{"label": "ship", "box": [4, 5, 20, 15]}, {"box": [-3, 2, 30, 40]}]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    run(
        "infer",
        "inference_pictures",
        run_id="inference_pictures",
        bundle_root=str(tmp_path),
        backbone="tiny",
        dataset_dir=str(images),
        prompts=str(tmp_path / "boxes.json"),
        output_dir=str(tmp_path / "out"),
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "000001.json",
        "000001.png",
        "pictures.csv",
        "run.json",
    ]
    found = read_json(tmp_path / "out" / "000001.json")["instances"]
    assert [(i["id"], i["label"]) for i in found] == [(1, "ship"), (2, "object")]
    assert found[1]["box"] == [0, 2, 30, 40]
    masks = [coco.decode(instance["segmentation"]) for instance in found]
    assert [int(mask.sum()) for mask in masks] == [instance["area"] for instance in found]
    numbers = np.asarray(Image.open(tmp_path / "out" / "000001.png"))
    assert numbers.shape == SIZE
    assert ((numbers > 0) == (masks[0] | masks[1]).astype(bool)).all()
