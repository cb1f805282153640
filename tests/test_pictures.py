"""Pictures and annotations as people have them: what is read, and what is refused in one line."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from closeness import assert_near
from conftest import ROOT, run
from layouts import (
    LAYOUTS,
    SIZE,
    make_coco,
    make_custom,
    make_nwpu,
    make_voc,
    overlay,
    save,
    scene,
)
from monai.bundle import ConfigParser
from PIL import Image
from pycocotools import mask as coco

from samparser_monai import pictures
from samparser_monai.errors import InputError, root_cause
from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.reading import read_label, read_picture

RAMP = np.arange(48 * 64, dtype=np.uint16).reshape(SIZE)
GREY, PICTURE = (RAMP % 256).astype(np.uint8), scene(0)[0]


def tiff(array: np.ndarray, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "a.tif", array, **options)
        return folder / "a.tif"

    return write


def written(name: str, array: np.ndarray) -> Callable[[Path], Path]:
    return lambda folder: save(folder / name, array)


BANDS = np.stack([GREY + n for n in range(5)])
STRETCHED = np.clip((RAMP - 15.355) / (3055.645 - 15.355), 0, 1) * 255  # percentiles 0.5, 99.5


@pytest.mark.parametrize(
    ("write", "bands", "wanted"),
    [
        (written("a.bmp", PICTURE), None, PICTURE),
        (written("a.tif", PICTURE), None, PICTURE),
        (written("a.png", np.dstack([PICTURE, GREY])), None, PICTURE),  # RGBA
        (written("a.png", np.dstack([GREY, GREY])), None, GREY),  # grey and alpha
        (written("a.tif", GREY), None, GREY),
        (written("a.tif", GREY > 100), None, 255 * (GREY > 100)),  # one bit
        (written("a.png", RAMP), None, STRETCHED),  # 16 bits
        (tiff(RAMP), None, STRETCHED),
        (tiff(RAMP.astype(np.float32)), None, STRETCHED),
        (tiff(np.dstack([RAMP] * 3), photometric="rgb"), None, STRETCHED),
        (tiff(BANDS, photometric="minisblack"), [3, 2, 1], BANDS[[2, 1, 0]].transpose(1, 2, 0)),
        (
            tiff(BANDS.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig"),
            [5],
            BANDS[4],
        ),
        (tiff(np.full(SIZE, 7, np.uint16)), None, np.zeros(SIZE)),
    ],
)
def test_every_kind_of_picture_is_read(
    write: Callable, bands: list | None, wanted: np.ndarray, tmp_path: Path
) -> None:
    found = read_picture(write(tmp_path), bands)
    assert found.shape == (*SIZE, 3) and found.dtype == np.float32
    wanted = wanted[..., None] if wanted.ndim == 2 else wanted
    # of sums that RAMP's percentiles round
    assert_near(found, np.broadcast_to(wanted, found.shape).astype(np.float32), share=2e-4)


def test_palette_is_colours_in_a_picture_and_numbers_in_a_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    assert np.array_equal(read_label(path), GREY)
    assert np.array_equal(read_picture(path), np.asarray(Image.open(path).convert("RGB")))


EMPTY = {"coco": 2, "nwpu": 1, "ssdd": 2, "whu": 2, "voc": 0, "custom": 0}


@pytest.mark.parametrize("scenario", LAYOUTS)
def test_layout_gives_the_instances_that_were_drawn(scenario: str, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([str(ROOT / f"configs/{n}.json") for n in ("train", overlay(scenario))])
    parser.update(LAYOUTS[scenario](tmp_path))
    found = parser.get_parsed_content("items")
    assert (len(found["train"]), len(found["validation"])) in ((3, 2), (4, 1))
    for item in found["train"] + found["validation"]:
        seed = int(re.findall(r"\d+", Path(item["image"]).stem)[-1])
        picture, drawn = scene(seed)
        assert abs(read_picture(item["image"]) - picture).mean() < 0.08 * 255  # JPEG's loss
        void = (
            coco.decode(item["ignored"]).astype(bool) if "ignored" in item else 0 > picture[..., 0]
        )
        masks = [coco.decode(a["rle"]).astype(bool) for a in item["annotations"]]
        assert sorted(m.tobytes() for m in masks) == sorted((m & ~void).tobytes() for _, m in drawn)
    if scenario in EMPTY:
        assert sum(found["empty"].values()) == EMPTY[scenario]
    if scenario in ("coco", "nwpu", "ssdd"):
        assert found["labels"] == ["harbor", "ship"]


def test_split_is_seeded_and_by_share(tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    splits = [pictures.custom_items(**paths, seed=s, share=0.6) for s in (1, 1, 2, 3)]
    names = [[item["case"] for item in split["train"]] for split in splits]
    assert names[0] == names[1] and len({tuple(n) for n in names}) > 1
    assert all(len(n) == 3 for n in names)


COLOURED = np.zeros((*SIZE, 3), np.uint8)
COLOURED[5:15, 5:15] = (255, 0, 255)
COLOURED[20:30, 5:15] = (255, 255, 0)
COLOURED[20:30, 40:50] = (255, 255, 0)
WHITE = COLOURED.copy()
WHITE[20:30, 5:15] = 255
WHITE[20:30, 40:50] = (0, 0, 255)
COUNTED = np.zeros(SIZE, np.uint16)
COUNTED[5:15, 5:15], COUNTED[5:15, 15:25], COUNTED[30:40, 40:60] = 300, 301, 301


@pytest.mark.parametrize(
    ("mask", "options", "labels"),
    [
        (COUNTED, {"mask_kind": "instance"}, ["object"] * 2),
        (COUNTED, {"mask_kind": "binary"}, ["object"] * 2),
        (COUNTED, {"mask_kind": "class"}, ["class 300", "class 301", "class 301"]),
        (
            COLOURED,
            {"mask_kind": "class", "classes": {"liver": [255, 0, 255], "kidney": [255, 255, 0]}},
            ["kidney", "kidney", "liver"],
        ),
        (COLOURED, {"mask_kind": "class", "classes": {"liver": [255, 0, 255]}}, ["liver"]),
        (
            WHITE,
            {"mask_kind": "class", "classes": {"roof": [255, 255, 255], "pool": [0, 0, 255]}},
            ["pool", "roof"],
        ),
        (WHITE, {"mask_kind": "class"}, ["class 0,0,255", "class 255", "class 255,0,255"]),
        (np.dstack([COUNTED > 0] * 3) * np.uint8(255), {}, ["object"] * 2),
    ],
)
def test_masks_of_every_kind(
    mask: np.ndarray, options: dict, labels: list[str], tmp_path: Path
) -> None:
    paths = make_custom(tmp_path)
    for path in Path(paths["masks"]).iterdir():
        Image.fromarray(mask).save(path)
    items = pictures.custom_items(**paths, **options)["train"]
    assert sorted(a["label"] for a in items[0]["annotations"]) == labels


def test_binary_masks_may_be_jpeg(tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    for path in list(Path(paths["masks"]).iterdir()):
        white = np.where(read_label(path) > 0, 255, 0).astype(np.uint8)
        save(path.with_suffix(".jpg"), np.dstack([white] * 3))
        path.unlink()
    for item in pictures.custom_items(**paths)["train"]:
        drawn = scene(int(item["case"]))[1]
        areas = sorted(int(coco.area(found["rle"])) for found in item["annotations"])
        assert areas == pytest.approx(sorted(mask.sum() for _, mask in drawn), rel=0.05)
    with pytest.raises(InputError, match="JPEG blurs"):
        pictures.custom_items(**paths, mask_kind="instance")


def test_boxes_from_text_from_coco_and_from_people(tmp_path: Path) -> None:
    make_nwpu(tmp_path)
    images = tmp_path / "positive image set"
    (tmp_path / "ground truth").mkdir()
    (tmp_path / "ground truth" / "000001.txt").write_text("(4,5),(20,15),2\n(1, 2),(9, 9),10 \n\n")
    text = boxed_items(images, tmp_path / "ground truth")
    assert [p["label"] for p in text[0]["prompts"]] == ["ship", "vehicle"]
    assert text[0]["boxes"].tolist() == [[4, 5, 20, 15], [1, 2, 9, 9]]
    annotated = boxed_items(images, tmp_path / "annotations.json")
    (item,) = (item for item in annotated if item["case"] == "000001")
    rows, columns = np.nonzero(scene(1)[1][0][1])
    tight = [columns.min(), rows.min(), columns.max(), rows.max()]
    assert item["boxes"][0].tolist() == tight


def edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Return the row of a COCO file that is changed."""

    def spoil(root: Path) -> None:
        path = root / "annotations.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def text(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content) and None


def segmented(segmentation: object) -> Callable[[Path], None]:
    """Return the row of a COCO file whose first annotation is cut like this."""
    return edit(lambda c: c["annotations"][0].update(segmentation=segmentation))


FIRST = "positive image set/000000.jpg"
BAD_FILES = [
    (text("annotations.json", b'{"images": ['), "annotations.json is not JSON"),
    (text("annotations.json", b"[]"), "is no COCO file"),
    (edit(lambda c: c.pop("annotations")), "is no COCO file"),
    (edit(lambda c: c["images"].append({})), "needs 'id' and 'file_name'"),
    (edit(lambda c: c["images"][1].update(id=7)), "two images have the id 7"),
    (
        edit(lambda c: c["categories"].append({"id": 18, "name": "zebra"})),
        "and 'zebra' have the id 18: number",
    ),
    (edit(lambda c: c["images"][1].update(height=9)), "000000.jpg has 64x48 px.*64x9"),
    (edit(lambda c: c["images"][1].update(file_name="empty.jpg")), "two .* 'empty.jpg': join them"),
    (
        edit(lambda c: [a.update(segmentation=[]) for a in c["annotations"]]),
        "none of its annotations can be used; of 15 the first: annotation 1",
    ),
    (lambda root: (root / FIRST).unlink(), "1 of the 6 pictures .*/000000.jpg does.*--missing"),
    (text(FIRST, b""), "1 of the 6 pictures .* cannot be read as a picture"),
    (lambda root: (root / "annotations.json").unlink(), "holds 0 [*].json files"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES)
def test_bad_file_is_one_clear_error(
    spoil: Callable, message: str, tmp_path: Path, overrides: dict
) -> None:
    overrides |= make_nwpu(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(Exception) as caught:
        run("train", "train", "scenarios/nwpu", run_id="training", **overrides)
    cause = root_cause(caught.value)  # MONAI wraps it
    assert isinstance(cause, InputError) and "\n" not in str(cause)
    assert re.search(message, str(cause))
    assert not (tmp_path / "models").exists() and not (tmp_path / "eval").exists()


FAULTS = [
    (segmented([[1, 1, 5, 5]]), "annotation 1: a polygon of 4 numbers"),
    (segmented([[1, 1, 5, 5, float("nan"), 3]]), "annotation 1: a polygon far outside"),
    (segmented([[1, 1, 5, 5, 1e9, 3]]), "annotation 1: a polygon far outside"),
    (segmented([[70, 50, 90, 50, 90, 60]]), "annotation 1: it covers 0 pixels"),
    (segmented([[1, 1, 5, 5, 9, 9]]), "annotation 1: it covers 0 pixels"),
    (segmented([["a"] * 6]), "annotation 1: a polygon that is no list of numbers"),
    (segmented(None), "annotation 1: no polygons or RLE"),
    (segmented({"size": [9, 9], "counts": [81]}), "annotation 1: an RLE of size .9, 9."),
    (segmented({"size": [*SIZE], "counts": [5, 5]}), "annotation 1: an RLE whose counts"),
    (segmented({"size": [*SIZE], "counts": "d0k5"}), "annotation 1: an RLE whose counts"),
    (segmented({"size": [*SIZE], "counts": None}), "annotation 1: an RLE whose counts"),
    (edit(lambda c: c["annotations"][1].update(id=1)), "annotation 1: another .* has its id"),
    (edit(lambda c: c["annotations"][1].update(image_id=9)), "annotation 2: it belongs to no"),
    (edit(lambda c: c["annotations"][1].update(image_id=[])), "annotation 2"),
    (edit(lambda c: c["annotations"][1].update(category_id=9)), "annotation 2: its category 9"),
    (edit(lambda c: c["annotations"].append(3)), "annotation 3: it belongs to no image"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_bad_annotation_is_counted_and_left_out(
    spoil: Callable, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_nwpu(tmp_path)
    whole = pictures.nwpu_items(tmp_path)
    spoil(tmp_path)
    found = pictures.nwpu_items(tmp_path)
    assert re.search(r"1 of 2[01] annotations are left out, the first: " + message, caplog.text)
    counts = [
        sum(len(i["annotations"]) for i in f["train"] + f["validation"]) for f in (whole, found)
    ]
    assert counts[0] - counts[1] == ("append" not in message and message[-8:] != "no image")


def test_missing_pictures_are_skipped_on_demand(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_coco(tmp_path)["dataset_dir"]
    for name in ("000000.jpg", "000001.jpg"):
        (tmp_path / "train2017" / name).unlink()
    with caplog.at_level(logging.WARNING):
        found = pictures.coco_items(root, missing="skip")
    assert "2 of 4 pictures are left out" in caplog.text
    assert [Path(item["image"]).name for item in found["train"]] == ["000002.jpg"]
    with pytest.raises(InputError, match="did you mean 'skip'"):
        pictures.coco_items(root, missing="skp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": None}, "name the pictures and what is on them"),
        ({"images": "/nowhere"}, "images='/nowhere' is no folder"),
        ({"mask_kind": "colour"}, "unknown mask_kind 'colour'"),
        ({"share": 1.0}, "train_share must be between 0 and 1"),
        ({"min_area": 9999}, "0 pictures show an instance"),
        ({"mask_kind": "class", "classes": {"a": [1, 2]}}, "classes: .1, 2. must be"),
    ],
)
def test_bad_option_is_one_error(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        pictures.custom_items(**make_custom(tmp_path) | options)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (GREY, "has 255 values beside 0 .* --mask_kind"),
        (np.zeros((9, 9), np.uint8), "has 9x9 px .* 64x48: a mask must have its picture's size"),
        (np.full(SIZE, 0.5, np.float32), "holds fractions"),
    ],
)
def test_bad_mask_is_one_error(mask: np.ndarray, message: str, tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    (tmp_path / "masks" / "0.png").unlink()
    Image.fromarray(mask).save(tmp_path / "masks" / "0.tif")
    with pytest.raises(InputError, match=message):
        pictures.custom_items(**paths)
    (tmp_path / "masks" / "0.tif").unlink()
    with pytest.raises(InputError, match=r"1 of 5 pictures .* have no mask .* 0\.png"):
        pictures.custom_items(**paths)


def test_voc_of_another_size_is_one_error(tmp_path: Path) -> None:
    make_voc(tmp_path)
    path = next((tmp_path / "VOC2012" / "SegmentationClass").iterdir())
    save(path, np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match="has 9x9 px"):
        pictures.voc_items(tmp_path)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "holds no boxes"),
        ([], "must hold a list of boxes"),
        ({"none": [{"box": [0, 0, 1, 1]}]}, "unknown picture .*'none'"),
        ({"000001": [{"box": [0, 0, 1]}]}, "prompt 0 is .* needs 'box'"),
        ({"000001": [{"box": [5, 0, 5, 9]}]}, "has no area"),
        ({"000001": [{"box": [70, 0, 90, 9]}]}, "lies outside the picture of 64x48 px"),
        ({"000001": [{"box": [0, 0, 9, 9]}], "000001.jpg": []}, "names 000001.jpg twice"),
        ({"images": [], "annotations": [{}]}, "has no 'bbox'"),
    ],
)
def test_bad_boxes_are_one_error(prompts: object, message: str, tmp_path: Path) -> None:
    make_nwpu(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps(prompts))
    with pytest.raises(InputError, match=message):
        boxed_items(tmp_path / "positive image set", tmp_path / "boxes.json")


@pytest.mark.parametrize(
    ("write", "bands", "message"),
    [
        (tiff(BANDS, photometric="minisblack"), None, "has 5 bands: choose three"),
        (tiff(BANDS, photometric="minisblack"), [1, 2, 9], "numbers from 1 to 5"),
        (written("a.png", GREY), [1, 2], "must be one or three"),
        (tiff(np.full(SIZE, np.nan, np.float32)), None, "NaN or infinite"),
        (lambda folder: folder / "none.png", None, "none.png does not exist"),
    ],
)
def test_bad_picture_is_one_error(
    write: Callable, bands: list | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_picture(write(tmp_path), bands)
