"""Pictures that wait for a prediction, with boxes from people, detectors or annotations."""

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.data.coco import category_names, picture_name, read_coco_json
from samparser_monai.data.listing import Finder, Item, opened, pictures_in
from samparser_monai.data.nwpu import nwpu_boxes
from samparser_monai.errors import InputError, unknown

Boxes = dict[str, list[Any]]
log = logging.getLogger(__name__)


def boxed_items(root: str | Path, prompts: str | Path | None) -> list[Item]:
    """List the pictures of a folder that boxes are given for: {image, case, size, prompts}.

    Args:
        root: the folder; a picture in a folder below goes by its path, or by its name alone.
        prompts: a JSON file with a list of {box, label?} to a picture's name, boxes XYXY in its
            pixels, corners included; or a COCO file, whose ``bbox`` are taken; or NWPU's folder
            ``ground truth/`` of text boxes.

    Raises:
        InputError: no pictures, boxes that cannot be used, or boxes for a picture that is not
            there.
    """
    if prompts is None:
        raise InputError("prompts is not given: name a JSON file of boxes by --prompts")
    pictures = pictures_in(root, "dataset_dir")
    cases = {path: name for name, path in pictures.items()}
    finder = Finder([Path(root)])
    found = {}
    for name, boxes in read_boxes(prompts).items():
        path = pictures.get(name, finder.find(name))
        if path not in cases:
            raise unknown(f"picture in prompts={str(prompts)!r}:", name, pictures)
        if path in found:
            raise InputError(f"prompts={str(prompts)!r} names {path.name} twice: join its boxes")
        found[path] = boxes
    if len(found) < len(pictures):
        log.info("%d of %d pictures have no boxes", len(pictures) - len(found), len(pictures))
    items: list[Item] = opened(
        [{"image": str(p), "case": cases[p], "prompts": boxes} for p, boxes in found.items()],
        "fail",
        root,
    )
    for item in items:
        item["prompts"] = [_checked(p, n, item) for n, p in enumerate(item["prompts"])]
        corners = [prompt["box"] for prompt in item["prompts"]]
        item["boxes"] = np.asarray(corners, dtype=np.float32).reshape(-1, 4)
    return items


def read_boxes(path: str | Path) -> Boxes:
    """Return the boxes {box, label?} of a file or folder by the pictures' names.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    if Path(path).is_dir():
        found: Boxes = nwpu_boxes(path)
    else:
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"prompts={str(path)!r} is no readable JSON file ({error})") from error
        if isinstance(content, dict) and "annotations" in content:
            found = _boxes_of_coco(path)
        elif isinstance(content, dict) and all(isinstance(v, list) for v in content.values()):
            found = content
        else:
            raise InputError(f"prompts={str(path)!r} must hold a list of boxes to each picture")
    if not any(found.values()):
        raise InputError(f"prompts={str(path)!r} holds no boxes")
    return found


def _boxes_of_coco(path: str | Path) -> Boxes:
    content = read_coco_json(path)
    names = category_names(content)
    found: Boxes = defaultdict(list)
    try:
        pictures = {picture["id"]: picture_name(picture) for picture in content["images"]}
        for annotation in content["annotations"]:
            if annotation.get("iscrowd"):
                continue
            x, y, width, height = annotation["bbox"]
            label = names.get(str(annotation.get("category_id")), "object")
            box = [x, y, x + width - 1, y + height - 1]
            found[pictures[annotation["image_id"]]].append({"label": label, "box": box})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"prompts={str(path)!r}: an annotation has no 'bbox' of x, y, width, height, or "
            f"belongs to no image ({error})"
        ) from error
    return found


def _checked(prompt: Any, number: int, item: Item) -> dict[str, Any]:
    """Return {label, box} with the box cut at the picture's borders."""
    where = f"{item['image']}: prompt {number}"
    box: Any = prompt.get("box") if isinstance(prompt, dict) else None
    numbers = isinstance(box, list) and all(isinstance(x, int | float) for x in box)
    if not numbers or len(box) != 4 or not np.isfinite(box).all():
        raise InputError(f"{where} is {prompt!r}: it needs 'box': [x0, y0, x1, y1] in pixels")
    x0, y0, x1, y1 = box
    if x0 >= x1 or y0 >= y1:
        raise InputError(f"{where}: box={box} has no area: give the upper left corner first")
    height, width = item["size"]
    if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        raise InputError(f"{where}: box={box} lies outside the picture of {width}x{height} px")
    cut = [max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1)]
    return {"label": str(prompt.get("label", "object")), "box": cut}
