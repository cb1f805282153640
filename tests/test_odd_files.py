"""Files as other tools leave them: names, folders, endings, encodings, and turned pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import run
from layouts import LAYOUTS, SIZE, make_custom, make_nwpu, make_voc, save, scene
from PIL import Image
from pycocotools import mask as coco

from samparser_monai import pictures
from samparser_monai.errors import InputError, root_cause
from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.transforms import Annotationsd, LoadPictured

PICTURES = "positive image set"


def instances(items: dict) -> int:
    return sum(len(item["annotations"]) for item in items["train"] + items["validation"])


def renamed(folder: str, change: Callable[[Path], str]) -> Callable[[Path], None]:
    """Return the row of a data set whose files have other names, or lie in folders."""

    def spoil(root: Path) -> None:
        for path in sorted((root / folder).iterdir()):
            target = root / folder / change(path)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)

    return spoil


def encoded(encoding: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "annotations.json"
        path.write_text(path.read_text(), encoding=encoding)

    return spoil


def by_address(root: Path) -> None:
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["coco_url"] = f"http://host/train2017/{image.pop('file_name')}"
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "spoil",
    [
        encoded("utf-8-sig"),
        encoded("utf-16"),
        by_address,
        renamed(PICTURES, lambda path: f"{path.stem}.JPG"),
        renamed(PICTURES, lambda path: f"{path.stem}.jpeg"),
        renamed(PICTURES, lambda path: f"{path.stem}/{path.name}"),
    ],
)
def test_coco_file_finds_its_pictures(spoil: Callable, tmp_path: Path) -> None:
    make_nwpu(tmp_path)
    spoil(tmp_path)
    assert instances(pictures.nwpu_items(tmp_path)) == 15


def in_folders(root: Path) -> None:
    for folder in ("pictures", "masks"):
        renamed(folder, lambda path: f"{int(path.stem) % 2}/{path.name}")(root)


def both(pictures: str, masks: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        renamed("pictures", lambda path: pictures.format(path.stem))(root)
        renamed("masks", lambda path: masks.format(path.stem))(root)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        in_folders,
        both("{}.PNG", "{}.Png"),
        both("{}.png", "{}_mask.png"),
        both("{}_sat.png", "{}_mask.png"),
        both("img_1{}.png", "label-1{}.png"),
        lambda root: (root / "pictures" / "._0.png").write_bytes(b"") and None,
    ],
)
def test_masks_find_their_pictures(spoil: Callable, tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    spoil(tmp_path)
    items = pictures.custom_items(**paths)
    assert instances(items) == 15
    for item in items["train"]:
        seed = int(Path(item["image"]).stem.strip("imgsat_")[-1])
        masks = {coco.decode(a["rle"]).astype(bool).tobytes() for a in item["annotations"]}
        assert masks == {mask.tobytes() for _, mask in scene(seed)[1]}


def test_numbers_alone_never_pair_masks_and_pictures(tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    both("1{}.png", "2{}.png")(tmp_path)
    with pytest.raises(InputError, match=r"5 of 5 pictures .* have no mask of their name"):
        pictures.custom_items(**paths)


def test_masks_may_lie_below_the_pictures_but_not_among_them(tmp_path: Path) -> None:
    paths = make_custom(tmp_path)
    shutil.move(paths["masks"], tmp_path / "pictures" / "masks")
    paths["masks"] = str(tmp_path / "pictures" / "masks")
    assert instances(pictures.custom_items(**paths)) == 15
    with pytest.raises(InputError, match="holds the masks alone"):
        pictures.custom_items(paths["masks"], paths["masks"])


def test_boxes_find_pictures_in_folders(tmp_path: Path) -> None:
    make_custom(tmp_path)
    in_folders(tmp_path)
    boxes = {"0/2.png": [{"box": [1, 2, 3, 4]}], "1/3": [{"box": [1, 2, 3, 4]}], "4.png": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    items = boxed_items(tmp_path / "pictures", tmp_path / "boxes.json")
    assert [item["case"] for item in items] == ["0/2", "1/3", "0/4"]


TURNS = {3: 180, 6: 90, 8: -90}  # how the upright picture is turned to be stored


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("told", ["upright", "stored", "nothing"])
def test_picture_that_its_exif_turns_fits_its_annotations(
    orientation: int, told: str, tmp_path: Path
) -> None:
    """It is taken upright, unless the size in the annotations is that of the stored pixels."""
    make_nwpu(tmp_path)
    path = tmp_path / PICTURES / "000000.jpg"
    picture = scene(0)[0]
    stored = np.asarray(Image.fromarray(picture).rotate(TURNS[orientation], expand=True))
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(path, stored, exif=exif, quality=100, subsampling=0)
    content = json.loads((tmp_path / "annotations.json").read_text())
    (entry,) = (image for image in content["images"] if image["file_name"] == "000000.jpg")
    size = {"upright": picture.shape, "stored": stored.shape, "nothing": (None, None)}[told]
    entry.update(height=size[0], width=size[1])
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    found = pictures.nwpu_items(tmp_path)
    (item,) = (i for i in found["train"] + found["validation"] if i["case"] == "000000.jpg")
    loaded = Annotationsd()(LoadPictured()(item))
    wanted = stored if told == "stored" and orientation != 3 else picture
    assert item["size"] == wanted.shape[:2] == loaded["label"][0].shape
    # JPEG's loss at its best quality
    assert abs(loaded["image"].permute(1, 2, 0).numpy() - wanted).mean() < 0.01 * 255


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["a"], "mask_kind": "class"}, r"classes=\['a'\] must give each name"),
        ({"share": "a"}, "train_share must be between 0 and 1, not 'a'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"min_area": "a"}, "min_area must be a whole number of at least 0, not 'a'"),
        ({"masks": 2012}, "masks='2012' is no folder"),
    ],
)
def test_bad_option_is_one_error(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        pictures.custom_items(**make_custom(tmp_path) | options)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("coco", "has no annotations/: expected the layout of COCO"),
        ("voc", "has no ImageSets/Segmentation/"),
        ("whu", "train/image does not exist: expected the layout of the WHU"),
        ("nwpu", r"holds 0 \*.json files"),
        ("ssdd", r"holds 0 files \*train\*.json"),
    ],
)
def test_another_layout_is_one_error(scenario: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        getattr(pictures, f"{scenario}_items")(tmp_path)


def test_voc_lists_may_have_more_columns_and_repeat(tmp_path: Path) -> None:
    make_voc(tmp_path)
    listing = tmp_path / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    listing.write_text("2012_000000  1\n2012_000001 -1\n\n2012_000000  1\n")
    found = [item["case"] for item in pictures.voc_items(tmp_path)["train"]]
    assert found == ["2012_000000", "2012_000001"]


@pytest.mark.parametrize("mode", ["CMYK", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_a_picture_trains(mode: str, tmp_path: Path) -> None:
    """Annotations stay, whatever bands the picture has."""
    paths = LAYOUTS["custom"](tmp_path)
    for path in list((tmp_path / "pictures").iterdir()):
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L")).astype(np.uint16)
            made = Image.fromarray(grey * 200) if mode == "I;16" else picture.convert(mode)
        path.unlink()
        made.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    for item in pictures.custom_items(**paths)["train"]:
        loaded = Annotationsd()(LoadPictured()(item))
        brightness = [loaded["image"][:, mask > 0].mean() for mask in loaded["label"]]
        objects = torch.stack(list(loaded["label"])).bool().any(0)
        background = loaded["image"][:, ~objects].mean()
        assert min(brightness) > background


@pytest.mark.parametrize("workers", [0, 1])
def test_pixels_that_cannot_be_used_are_one_error(
    workers: int, tmp_path: Path, overrides: dict
) -> None:
    """File and header are whole: what is wrong shows when the pixels are read, by any process."""
    make_nwpu(tmp_path / "data")
    path = tmp_path / "data" / PICTURES / "000000.jpg"
    tifffile.imwrite(path, np.zeros((5, *SIZE), np.uint8), photometric="minisblack")
    overrides |= {"dataset_dir": str(tmp_path / "data"), "num_workers": workers}
    with pytest.raises(Exception) as caught:
        run("train", "train", "scenarios/nwpu", run_id="training", **overrides)
    message = str(root_cause(caught.value))
    assert "000000.jpg has 5 bands" in message and "\n" not in message
