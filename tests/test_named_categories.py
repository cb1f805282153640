"""Pictures asked by names: in training, and without a box in inference."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, run
from layouts import make_nwpu
from pycocotools import mask as coco
from test_tiles import FRAME, Echo
from torch import Tensor

from samparser_monai.errors import root_cause
from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.inferer import TiledInferer
from samparser_monai.pictures.transforms import NamedCategoriesd


class Bright(Echo):
    """An Echo that knows by name what is bright."""

    def __init__(self, organs: list[str]) -> None:
        super().__init__()
        self.named_prompts = torch.nn.Module()
        self.named_prompts.organs = organs

    def decode(
        self, embedding: Tensor, boxes: list[Tensor], names: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if names is None:
            return super().decode(embedding, boxes)
        bright = (embedding[0, 0] > 0).float() * 2 - 1
        found = torch.stack([bright if n == 0 else torch.full_like(bright, -1) for n in names[0]])
        return found[:, None], torch.ones(len(found), 1)


@pytest.mark.parametrize("tile", [1000, 64])
def test_a_name_finds_every_instance_in_tiles_as_in_the_whole(tile: int) -> None:
    picture = torch.zeros(1, 3, 100, 160)
    places = {(10, 20): (30, 50), (60, 30): (90, 70), (5, 100): (95, 150)}  # one over tiles
    for (y0, x0), (y1, x1) in places.items():
        picture[..., y0:y1, x0:x1] = 255
    network = Bright(["ship", "plane"])
    inferer = TiledInferer(FRAME, tile=tile)
    box = np.array([[1.0, 2, 9, 8]])
    (found,) = inferer(picture, network, [box], [["plane", "ship"]])
    assert "prompt" not in found[0] and len(found) == 4
    assert {one["prompt"]["label"] for one in found[1:]} == {"ship"}
    for one, ((y0, x0), (y1, x1)) in zip(
        found[1:], sorted(places.items(), key=lambda p: p[0][1]), strict=True
    ):
        wanted = np.zeros((100, 160), np.uint8)
        wanted[y0:y1, x0:x1] = 1
        mask = coco.decode(one["rle"])
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.85
        assert one["prompt"]["by"] == "name"
    nothing = inferer(picture * 0, network, [box[:0]], [["ship"]])
    assert nothing == [[]]


def test_what_a_picture_shows_of_a_category_is_one_mask() -> None:
    masks = np.zeros((3, 20, 40), np.uint8)
    masks[0, :4, :4] = masks[1, 10:14, 10:14] = masks[2, 4:8, 20:30] = 1
    annotations = [
        {"label": label, "rle": rle_of(mask)}
        for label, mask in zip(["ship", "ship", "plane"], masks, strict=True)
    ]
    item = {"image": torch.zeros(3, 20, 40), "annotations": annotations}
    made = NamedCategoriesd(["car", "plane", "ship"], 80, 40)(item)
    assert made["named"] == ["car", "plane", "ship"]
    assert made["body"].tolist() == [0, 0, 80, 40]
    assert made["shown"].tolist() == [2, 1]
    assert made["whole"].sum((1, 2, 3)).tolist() == [32, 40]


def test_from_training_to_pictures_without_boxes(tmp_path: Path) -> None:
    paths = make_nwpu(tmp_path / "nwpu")
    options = {**SMALL, "bundle_root": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
    options.pop("min_area", None)
    run("train", "train", "scenarios/nwpu", run_id="training", names=True, **options, **paths)
    images = tmp_path / "nwpu" / "positive image set"
    asked = {"bundle_root": str(tmp_path), "backbone": "tiny", "dataset_dir": str(images)}
    run("infer", "inference_pictures", run_id="inference_pictures", **asked)
    found = [json.loads(p.read_text()) for p in (tmp_path / "eval/predictions").glob("*.json")]
    assert len(found) > len(list(images.iterdir()))  # and run.json
    assert all(one["by"] == "name" for f in found for one in f.get("instances", ()))
    first = min(images.glob("0*.jpg"))
    boxes = {first.name: [{"box": [4, 4, 20, 16]}]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    items = boxed_items(images, tmp_path / "boxes.json", "fail", ["harbor", "ship"], "ship")
    assert {item["image"] for item in items} == {str(path) for path in images.iterdir()}
    assert [len(item["prompts"]) for item in items] == [1] + [0] * (len(items) - 1)
    assert all(item["by_name"] == ["ship"] for item in items)
    with pytest.raises(Exception) as caught:
        run("infer", "inference_pictures", run_id="inference_pictures", organs="aship", **asked)
    assert "unknown organ in organs" in str(root_cause(caught.value))
