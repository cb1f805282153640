"""What masks, flags and boxes mean by custom: taken, told, or refused with what was found."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run
from layouts import coco_file, make_custom, make_nwpu, make_voc, save, scene
from PIL import Image
from pycocotools import mask as coco
from scipy import ndimage

from samparser_monai import pictures
from samparser_monai.errors import InputError, root_cause
from samparser_monai.geometry.frames import coverage
from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.conventions import VOC_PALETTE
from samparser_monai.pictures.folders import instances_by
from samparser_monai.pictures.transforms import Masks
from samparser_monai.training.transforms import RandInstancesd

BIG = np.zeros((96, 128), np.int64)
BIG[20:60, 10:40], BIG[30:80, 60:110] = 1, 2
BLURRED = ndimage.gaussian_filter(255.0 * (BIG > 0), 2).astype(np.int64)
NOISE = np.clip(255 * (BIG > 0) + np.random.default_rng(0).integers(-9, 10, BIG.shape), 0, 255)
RING = ndimage.binary_dilation(BIG > 0, iterations=2) & (BIG == 0)
AREAS = [40 * 30, 50 * 50]


@pytest.mark.parametrize(
    ("label", "kinds", "void"),
    [
        (255 * (BIG > 0), (None, "binary"), 0),
        (BLURRED, (None, "binary"), 0),
        (NOISE, (None, "binary"), 0),
        (BIG, ("binary", "class", "instance"), 0),
        (BIG * 300, ("binary", "class", "instance"), 0),
        (np.where(BIG > 0, BIG, -1), ("binary", "class", "instance"), 0),
        (np.where(RING, -1, BIG), ("binary", "class", "instance"), RING.sum()),
        (np.where(RING, 255, BIG), ("binary", "class", "instance"), RING.sum()),
        (np.where(RING, 65535, BIG * 300), ("binary", "class", "instance"), RING.sum()),
    ],
)
def test_values_by_custom_are_the_objects(label: np.ndarray, kinds: tuple, void: int) -> None:
    for kind in kinds:
        found = instances_by(kind, label, Path("a.png"), {}, 10)
        areas = sorted(int(coco.area(a["rle"])) for a in found["annotations"])
        assert areas == pytest.approx(AREAS, rel=0.01)
        assert (coco.area(found["ignored"]) if void else "ignored" in found) == void


@pytest.mark.parametrize(
    ("label", "kind", "message"),
    [
        (BLURRED, "instance", r"\(\d+ in all\): its edges are blurred"),
        (BLURRED, "class", "edges are blurred"),
        (BIG * 127, "binary", "has the values 127, 254: which are objects"),
        (np.where(RING, -7, BIG), "instance", "has the values -7, 0, 1, 2: below 0"),
        (BIG, None, r"2 values beside 0 \(1, 2\): tell what they are by --mask_kind"),
    ],
)
def test_other_values_are_refused_with_what_was_found(
    label: np.ndarray, kind: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        instances_by(kind, label, Path("a.png"), {}, 10)


def test_named_255_is_a_class() -> None:
    label = np.where(BIG == 2, 255, BIG)
    found = instances_by("class", label, Path("a.png"), {"roof": 255, "tree": 1}, 10)
    assert sorted(a["label"] for a in found["annotations"]) == ["roof", "tree"]


def test_masks_of_different_values_are_of_a_kind_that_must_be_told(tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    save(tmp_path / "masks" / "0.png", np.uint8(7 * scene(0)[1][0][1]))
    with pytest.raises(InputError, match=r"has the value 7 beside 0, that of .* 255: tell what"):
        pictures.custom_items(**paths)


def test_voc_in_its_colours_is_voc(tmp_path: Path) -> None:
    root = make_voc(tmp_path)["dataset_dir"]
    colours = np.array(sorted(VOC_PALETTE, key=lambda c: VOC_PALETTE[c]), dtype=np.uint8)
    wanted = pictures.voc_items(root)
    for path in sorted(Path(root).rglob("Segmentation*/*.png")):
        values = np.asarray(Image.open(path))
        Image.fromarray(colours[values]).save(path)
    assert pictures.voc_items(root) == wanted
    save(path, np.where(values[..., None] > 0, np.uint8([1, 2, 3]), np.uint8(0)))
    with pytest.raises(InputError, match="colours that are not in VOC's palette"):
        pictures.voc_items(root)


def all_of(change: Callable[[dict], None]) -> Callable[[dict], None]:
    return lambda content: [change(a) for a in content["annotations"]] and None


def thin(annotation: dict) -> None:
    if isinstance(annotation["segmentation"], list):
        annotation["segmentation"].append([1, 1, 2, 2])


def pairs(annotation: dict) -> None:
    if isinstance(annotation["segmentation"], list):
        flat = annotation["segmentation"][0]
        annotation["segmentation"] = [list(zip(flat[::2], map(str, flat[1::2]), strict=True))]


@pytest.mark.parametrize(
    ("change", "options", "count", "message"),
    [
        (all_of(lambda a: a.update(iscrowd=1)), {}, 15, "15 of 15 annotations are crowds"),
        (all_of(lambda a: a.update(iscrowd=a["id"] % 10 % 2)), {}, 5, "10 of 15 .* left out"),
        (all_of(lambda a: a.update(iscrowd=a["id"] % 2)), {"crowds": "use"}, 15, "are used"),
        (all_of(lambda a: a.update(iscrowd="0")), {}, 15, ""),
        (all_of(lambda a: a.update(image_id=float(a["image_id"]))), {}, 15, ""),
        (all_of(lambda a: a.update(category_id=str(a["category_id"]))), {}, 15, ""),
        (all_of(lambda a: a.update(id=a["id"] % 10)), {}, 15, ""),
        (all_of(thin), {}, 15, "5 polygons of under three points are passed over"),
        (all_of(pairs), {}, 15, ""),
        (lambda c: c["images"][1].update(height="48", width="64.0"), {}, 15, ""),
    ],
)
def test_flags_and_ids_of_other_tools(
    change: Callable,
    options: dict,
    count: int,
    message: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_nwpu(tmp_path)
    scenes = {f"{seed:06d}.jpg": scene(seed) for seed in range(5)}
    content = json.loads(json.dumps(coco_file(scenes, crowd=False)))
    change(content)
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        found = pictures.custom_items(
            tmp_path / "positive image set",
            annotations=tmp_path / "annotations.json",
            **options,
        )
    assert sum(len(i["annotations"]) for p in ("train", "validation") for i in found[p]) == count
    assert caplog.text == "" if not message else re.search(message, caplog.text)


def test_roboflow_is_split_as_it_comes(tmp_path: Path) -> None:
    for part, seeds in (("train", range(3)), ("valid", range(2))):
        scenes = {f"{seed}.jpg": scene(seed + 5) for seed in seeds}
        for name, (picture, _) in scenes.items():
            save(tmp_path / part / name, picture)
        content = coco_file(scenes)
        content["images"].pop(0)
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(content))
    found = pictures.custom_items(tmp_path)
    assert [len(found[part]) for part in ("train", "validation")] == [3, 2]
    assert {Path(i["image"]).parent.name for i in found["validation"]} == {"valid"}


def boxes_in(tmp_path: Path, prompts: object, **options: object) -> list:
    make_nwpu(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps(prompts))
    return boxed_items(tmp_path / "positive image set", tmp_path / "boxes.json", **options)


GOOD, FLAT = {"box": [4, 5, 20, 15]}, {"box": [5, 0, 5, 9]}


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"000001": [{"box": [0.1, 0.2, 0.5, 0.9]}, {"box": [0, 0, 1, 1]}]}, "between 0 and 1"),
        ({"000001": [{"box": [40, 30, 9, 8]}, {"box": [30, 5, 20, 9]}]}, "x, y, width, height"),
        ({"000001": [GOOD, FLAT]}, "1 of 2 boxes cannot be used, .* has no area.*--missing skip"),
    ],
)
def test_boxes_in_other_units_are_refused(prompts: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        boxes_in(tmp_path, prompts)


def test_boxes_that_cannot_be_used_are_skipped_on_demand(tmp_path: Path) -> None:
    prompts = {"000001": [GOOD, FLAT, {"box": [9, 9, 3, 3]}], "none": [GOOD], "000002": [FLAT]}
    first, second = boxes_in(tmp_path, prompts, missing="skip")
    assert first["boxes"].tolist() == [[4, 5, 20, 15]] and not len(second["boxes"])


def test_boxes_of_a_coco_file_are_of_its_sizes(tmp_path: Path) -> None:
    scenes = {"000001.jpg": scene(1)}
    content = coco_file(scenes)
    content["annotations"][0]["bbox"] = [7, 3, 1, 5]
    (item,) = boxes_in(tmp_path, content)
    assert item["boxes"][0].tolist() == [7, 3, 7, 7]
    content["images"][1].update(width=128, height=96)
    with pytest.raises(InputError, match="has 64x48 px, its annotations 128x96"):
        boxes_in(tmp_path, content)


def test_crowds_of_a_coco_file_are_counted_or_all_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coco_file({f"00000{n}.jpg": scene(n) for n in (1, 2)}, crowd=False)
    kept = len(content["annotations"]) - 1
    content["annotations"][0]["iscrowd"] = 1
    assert sum(len(item["boxes"]) for item in boxes_in(tmp_path, content)) == kept
    assert f"1 of {kept + 1} annotations are crowds (iscrowd 1) and are left out" in caplog.text
    all_of(lambda a: a.update(iscrowd=1))(content)
    assert sum(len(item["boxes"]) for item in boxes_in(tmp_path, content)) == kept + 1
    assert "and are used" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][1].update(id=c["images"][0]["id"]), "two images have the id"),
        (
            lambda c: c["images"][1].update(file_name=c["images"][0]["file_name"]),
            "two images have the file_name",
        ),
        (
            lambda c: c["categories"].append({**c["categories"][0], "name": "plane"}),
            "and 'plane' have the id 18: number them apart",
        ),
    ],
)
def test_boxes_of_a_coco_file_with_an_id_twice_are_refused(
    change: Callable, message: str, tmp_path: Path
) -> None:
    content = coco_file({f"00000{n}.jpg": scene(n) for n in (1, 2)})
    change(content)
    with pytest.raises(InputError, match=message):
        boxes_in(tmp_path, content)


def test_minus_signs_of_text_boxes_are_kept(tmp_path: Path) -> None:
    make_nwpu(tmp_path)
    (tmp_path / "ground truth").mkdir()
    (tmp_path / "ground truth" / "000001.txt").write_text("(-4,5),(20,15),2\n")
    (tmp_path / "ground truth" / "._000001.txt").write_bytes(b"\xff")
    (item,) = boxed_items(tmp_path / "positive image set", tmp_path / "ground truth")
    assert item["boxes"].tolist() == [[0, 5, 20, 15]]


def test_picture_that_cannot_be_read_stops_no_other(tmp_path: Path, overrides: dict) -> None:
    paths = make_custom(tmp_path / "data")
    run(
        "train", "train", "scenarios/custom", run_id="training", **overrides | paths | {"epochs": 1}
    )
    first = tmp_path / "data" / "pictures" / "0.png"
    first.write_bytes(first.read_bytes()[:-300])
    boxes = {f"{n}.png": [GOOD] for n in range(3)}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    with pytest.raises(Exception) as caught:
        run(
            "infer",
            "inference_pictures",
            run_id="inference_pictures",
            bundle_root=str(tmp_path),
            backbone="tiny",
            dataset_dir=paths["images"],
            prompts=str(tmp_path / "boxes.json"),
            output_dir=str(tmp_path / "out"),
        )
    assert "1 of 3 pictures could not be segmented" in str(root_cause(caught.value))
    assert sorted(p.name for p in (tmp_path / "out").glob("[12].json")) == ["1.json", "2.json"]
    rows = (tmp_path / "out" / "pictures.csv").read_text().splitlines()
    assert len(rows) == 4 and "0.png cannot be read as a picture" in rows[1]


def test_instances_are_drawn_before_their_masks_are_made() -> None:
    annotations = [{"label": "a", "rle": rle_of(BIG == 1)} for _ in range(9)]
    chosen = RandInstancesd(4, "annotations")({"case": "a", "annotations": annotations})
    assert len(chosen["annotations"]) == 4
    masks = Masks([a["rle"] for a in annotations])
    whole = torch.from_numpy(coco.decode(masks.rles)).permute(2, 0, 1)
    torch.testing.assert_close(coverage(masks, 128, 32), coverage(whole, 128, 32))
    assert coverage(Masks([rle_of(BIG > 9)]), 128, 32).sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3000, 1)])
def test_pictures_of_one_pixel_have_boxes(size: tuple[int, int], tmp_path: Path) -> None:
    save(tmp_path / "pictures" / "a.png", np.zeros((*size, 3), np.uint8))
    box = [0, 0, size[1] - 1, size[0] - 1]
    (tmp_path / "boxes.json").write_text(json.dumps({"a": [{"box": box, "label": None}]}))
    (item,) = boxed_items(tmp_path / "pictures", tmp_path / "boxes.json")
    assert item["boxes"].tolist() == [box] and item["prompts"][0]["label"] == "object"
