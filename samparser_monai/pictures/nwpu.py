"""NWPU VHR-10: aerial pictures of ten kinds of objects, masks in a COCO file, boxes in text."""

import re
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import visible
from samparser_monai.pictures.coco import one_file_items
from samparser_monai.pictures.finding import json_below
from samparser_monai.pictures.listing import Missing

CLASSES = (
    *("airplane", "ship", "storage tank", "baseball diamond", "tennis court"),
    *("basketball court", "ground track field", "harbor", "bridge", "vehicle"),
)
"""By the numbers of the text boxes, from 1."""

NUMBER = r"\s*([-+]?\d+(?:\.\d*)?)\s*"
LINE = re.compile(rf"\s*\({NUMBER},{NUMBER}\)\s*,\s*\({NUMBER},{NUMBER}\)\s*,\s*(\d+)[\s,]*")


def nwpu_items(
    root: str | Path,
    share: float = 0.7,
    seed: int = 2023,
    missing: Missing = "fail",
    min_area: int = 1,
) -> dict[str, Any]:
    """List ``positive image set/`` with the masks of the one COCO file below ``root``.

    Raises:
        InputError: no COCO file, or several; see one_file_items.
    """
    files = json_below(root)
    if len(files) != 1:
        raise InputError(
            f"dataset_dir={str(root)!r} holds {len(files)} *.json files: expected one with the "
            "instance masks beside 'positive image set/'"
        )
    images = [Path(str(root)) / "positive image set", Path(str(root))]
    return one_file_items(files[0], images, share, seed, missing, min_area)


def nwpu_boxes(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Return the boxes of ``ground truth/*.txt`` as prompts: picture -> [{label, box}].

    A line is ``(x0,y0),(x1,y1),class``.

    Raises:
        InputError: a line that is not.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in filter(visible, sorted(Path(folder).glob("*.txt"))):
        found[path.stem] = []
        text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\N{MINUS SIGN}", "-")
        for number, line in enumerate(text.splitlines(), start=1):
            match = LINE.fullmatch(line)
            if match and 1 <= int(match[5]) <= len(CLASSES):
                corners = [float(match[n]) for n in range(1, 5)]
                box = {"label": CLASSES[int(match[5]) - 1], "box": corners}
                found[path.stem].append(box)
            elif line.strip():
                raise InputError(f"{path}, line {number}: {line!r} is not (x0,y0),(x1,y1),class")
    return found
