"""What the pictures of docs/gallery are made from is in the true layouts."""

from pathlib import Path

import pytest
from conftest import ROOT
from demonstration.layouts import LAYOUTS
from make_gallery import FOLDER, MAKERS
from pycocotools import mask as coco

from samparser_monai import pictures

LABELS = {
    "coco": {"astronaut.jpg": 2, "chelsea.jpg": 3, "coffee.jpg": 3, "rocket.jpg": 1},
    "voc": {"astronaut": 1, "chelsea": 1, "motorcycle": 1},
}


@pytest.mark.parametrize("scenario", LAYOUTS)
def test_layout_is_read(scenario: str, tmp_path: Path) -> None:
    LAYOUTS[scenario](tmp_path)
    given = (tmp_path / "images", tmp_path / "masks") if scenario == "custom" else (tmp_path,)
    items = getattr(pictures, f"{scenario}_items")(*given)
    parts = items["train"] + items["validation"]
    if scenario in LABELS:
        assert {i["case"]: len(i["annotations"]) for i in parts} == LABELS[scenario]
    for item in parts:
        assert min(coco.area(a["rle"]) for a in item["annotations"]) > 100


def test_gallery_shows_every_picture_that_its_command_makes() -> None:
    page = (ROOT / FOLDER.parent / "gallery.md").read_text("utf-8")
    files = {path.stem: path.stat().st_size for path in (ROOT / FOLDER).glob("*.png")}
    assert {*MAKERS, "curve", "spectrum"} == set(files)
    assert max(files.values()) < 250_000
    assert all(f"gallery/{name}.png" in page for name in files)
