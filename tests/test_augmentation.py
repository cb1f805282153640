"""Pictures with annotations are augmented by MONAI's transforms; masks and boxes follow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read_json, run
from layouts import LAYOUTS, make_voc
from monai.transforms import RandFlipd, RandRotate90d, RandRotated, RandScaleIntensityd
from pycocotools import mask as coco

from samparser_monai.pictures import voc_items
from samparser_monai.pictures.transforms import Annotationsd, LoadPictured
from samparser_monai.training.transforms import RandAugmentd

KEYS = ("image", "truth")
ROTATED = RandRotated(KEYS, range_x=0.5, prob=1, mode=("bilinear", "nearest"), keep_size=False)


@pytest.fixture
def item(tmp_path: Path) -> dict:
    """A picture with two ships, a harbor and a void, in which each instance has one colour."""
    make_voc(tmp_path)
    item = LoadPictured()(voc_items(tmp_path)["train"][0])
    masks = coco.decode([a["rle"] for a in item["annotations"]])
    item["image"] = torch.from_numpy(masks @ np.array([1.0, 2, 3])).float().repeat(3, 1, 1)
    return item


@pytest.mark.parametrize(
    ("transform", "factor", "share"),
    [
        (RandFlipd(KEYS, prob=1, spatial_axis=1), 1, 1),
        (RandFlipd(KEYS, prob=1, spatial_axis=0), 1, 1),
        (RandRotate90d(KEYS, prob=1), 1, 1),
        (ROTATED, 1, 0.75),  # the picture is smoothed at the borders
        (RandScaleIntensityd("image", factors=(1, 1), prob=1), 2, 1),
    ],
)
def test_masks_and_boxes_follow_the_picture(
    item: dict, transform: object, factor: float, share: float
) -> None:
    augment = RandAugmentd([transform])
    augment.set_random_state(3)
    found = Annotationsd()(augment(item))
    assert [a["label"] for a in found["annotations"]] == ["boat", "boat", "car"]
    assert found["label"][0].shape == found["image"].shape[1:] == found["ignored"].shape
    assert factor == 2 or not torch.equal(found["image"], item["image"])
    masks = [mask.bool() for mask in found["label"]]
    for n, (mask, box) in enumerate(zip(masks, found["boxes"], strict=True), 1):
        inside = (found["image"][0][mask] - factor * n).abs() < 0.2 * factor
        assert inside.float().mean() >= share
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert box.tolist() == [columns[0], rows[0], columns[-1], rows[-1]]


def test_instances_out_of_sight_are_left_out(item: dict) -> None:
    def moved(by: int) -> dict:
        return RandAugmentd([lambda d: {k: d[k][..., by:] for k in d}])(item)

    assert len(moved(0)["annotations"]) == 3
    assert [a["label"] for a in moved(33)["annotations"]] == ["car"]
    assert moved(64) == item


def test_what_shows_nothing_is_augmented_too(item: dict) -> None:
    augment = RandAugmentd([RandFlipd(KEYS, prob=1, spatial_axis=1)])
    picture = augment({**item, "annotations": []})
    empty = torch.zeros(item["image"].shape[1:], dtype=torch.uint8)
    slice_of = augment({"case": "c", "image": item["image"], "truth": empty})
    for found in (picture, slice_of):
        assert torch.equal(torch.as_tensor(found["image"]), item["image"].flip(2))
    assert picture["annotations"] == [] and slice_of["truth"].shape == empty.shape


@pytest.mark.parametrize("views", [0, 2])
def test_scenario_trains_augmented(views: int, tmp_path: Path, overrides: dict) -> None:
    overrides |= LAYOUTS["voc"](tmp_path / "data") | {"views": views}
    overrides["augmentation"] = [
        {"_target_": "RandFlipd", "keys": [*KEYS], "prob": 0.5, "spatial_axis": 1},
        {"_target_": "RandGaussianNoised", "keys": "image", "prob": 1.0, "std": 5.0},
    ]
    run("train", "train", "scenarios/voc", run_id="training", **overrides)
    assert read_json(tmp_path / "eval" / "training.json")["steps"] == 2 * 3
    entries = len(list((tmp_path / "cache" / "features").rglob("*.safetensors")))
    assert entries == 3 * views + 2
