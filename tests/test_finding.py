"""Annotations find their own pictures, or none."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from layouts import make_coco, make_nwpu, save

from samparser_monai import pictures
from samparser_monai.errors import InputError
from samparser_monai.pictures.finding import locate, part_of, pictures_in

FOREIGN = "/home/someone/project/"


@pytest.mark.parametrize(
    ("files", "names", "found"),
    [
        # (files below the folder, names -> the file that each is)
        (["b/0.jpg"], ["a/0.jpg", "b/0.jpg"], [None, "b/0.jpg"]),
        (["b/0.jpg"], ["a/0.jpg"], [None]),
        (["b/0.jpg", "b/6.jpg"], [FOREIGN + "b/0.jpg", FOREIGN + "a/6.jpg"], ["b/0.jpg", None]),
        (["a/0.jpg", "b/0.jpg"], ["0.jpg"], [None]),
        (["a/0.jpg"], ["0.jpg"], ["a/0.jpg"]),
        (["a/0.jpg"], ["0.jpg", "a/0.jpg"], [None, "a/0.jpg"]),
        (["x/a/0.JPEG"], ["a/0.jpg"], ["x/a/0.JPEG"]),
        (["0.jpg", "1.jpg"], [FOREIGN + "0.jpg", "C:/x/1.jpg"], ["0.jpg", "1.jpg"]),
        (["b/0.jpg"], [FOREIGN + "a/0.jpg"], [None]),
        (
            ["x/a/0.jpg", "x/b/0.jpg"],
            [FOREIGN + "a/0.jpg", FOREIGN + "b/0.jpg"],
            ["x/a/0.jpg", "x/b/0.jpg"],
        ),
        (["0.jpg"], [FOREIGN + "a/0.jpg", FOREIGN + "b/0.jpg"], [None, None]),
        ([".thumbnails/0.jpg", "s/0.jpg", "@eaDir/0.jpg"], ["0.jpg"], ["s/0.jpg"]),
        (["é/ü.jpg"], [unicodedata.normalize("NFD", "é/ü.jpg")], ["é/ü.jpg"]),
        ([unicodedata.normalize("NFD", "ü.jpg")], ["ü.jpg"], ["ü.jpg"]),
        (["val/0.jpg"], ["0.jpg"], [None]),  # looked for as a picture that trains
        (["train2017/0.jpg", "val2017/0.jpg"], ["0.jpg"], ["train2017/0.jpg"]),
        (["a #1/0.jpg"], ["a #1/0.jpg"], ["a #1/0.jpg"]),
    ],
)
def test_picture_is_its_own_file_or_none(
    files: list[str], names: list[str], found: list[str | None], tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    places = locate(names, [tmp_path], part="train")
    told = [places[n].relative_to(tmp_path) if places[n].is_file() else None for n in names]
    spelled = [t and unicodedata.normalize("NFC", t.as_posix()) for t in told]
    assert spelled == found


def test_folders_that_are_links_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "far" / "a.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "loop").symlink_to(tmp_path / "far")
    assert list(pictures_in(tmp_path / "images", "images")) == ["link/a"]
    assert locate(["a.png"], [tmp_path / "images"])["a.png"].is_file()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("instances_train2017", "train"),
        ("SSDD_instances_val", "held out"),
        ("valid", "held out"),
        ("trainval", None),
        ("latest", None),
    ],
)
def test_part_of_a_data_set_is_known_by_its_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_missing_picture_is_never_that_of_another_part(tmp_path: Path) -> None:
    root = Path(make_coco(tmp_path)["dataset_dir"])
    shutil.copy(root / "train2017" / "000000.jpg", root / "val2017" / "000000.jpg")
    (root / "train2017" / "000000.jpg").unlink()
    with pytest.raises(InputError, match=r"train2017/000000\.jpg does not exist"):
        pictures.coco_items(root)
    found = pictures.coco_items(root, missing="skip")
    assert [Path(item["image"]).parent.name for item in found["train"]] == ["train2017"] * 2


def test_picture_in_both_parts_is_refused(tmp_path: Path) -> None:
    make_nwpu(tmp_path)
    images, annotations = tmp_path / "positive image set", tmp_path / "annotations.json"
    with pytest.raises(InputError, match="5 pictures both train and validate"):
        pictures.custom_items(images, annotations=annotations, val_annotations=annotations)
