"""What the pictures of docs/scenarios are made from is in the true layouts."""

from pathlib import Path

import pytest
from conftest import ROOT
from demonstration.layouts import LAYOUTS
from demonstration_pictures import FOLDER
from pycocotools import mask as coco

from samparser_monai import pictures

LABELS = {
    "coco": {"astronaut.jpg": 2, "chelsea.jpg": 3, "coffee.jpg": 3, "rocket.jpg": 1},
    "voc": {"astronaut": 1, "chelsea": 1, "motorcycle": 1},
}


@pytest.mark.parametrize("scenario", LAYOUTS)
def test_layout_is_read(scenario: str, tmp_path: Path) -> None:
    LAYOUTS[scenario](tmp_path)
    items = getattr(pictures, f"{scenario}_items")(tmp_path)
    parts = items["train"] + items["validation"]
    if scenario in LABELS:
        assert {i["case"]: len(i["annotations"]) for i in parts} == LABELS[scenario]
    for item in parts:
        assert min(coco.area(a["rle"]) for a in item["annotations"]) > 100


def test_every_scenario_shows_a_picture() -> None:
    for page in (ROOT / FOLDER).glob("*.md"):
        (name,) = [
            line.partition("](")[2][:-1]
            for line in page.read_text().splitlines()
            if line.startswith("![")
        ]
        assert (page.parent / name).stat().st_size < 250_000
