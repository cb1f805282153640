"""Pictures that wait for a prediction, with boxes from people, detectors or annotations."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import read_json
from samparser_monai.pictures.coco import (
    category_names,
    identity,
    is_crowd,
    picture_name,
    picture_size,
    pictures_by_id,
    read_coco_json,
    takes_crowds,
)
from samparser_monai.pictures.finding import composed, locate, pictures_in
from samparser_monai.pictures.listing import Item, Missing, each, header_or_error, sized
from samparser_monai.pictures.nwpu import nwpu_boxes
from samparser_monai.sam.named_prompts import check_organs

Boxes = dict[str, list[Any]]
Sizes = dict[str, tuple[int, int]]
NO_AREA = "has no area: give the upper left corner first"
log = logging.getLogger(__name__)


def boxed_items(
    root: str | Path | Sequence[str | Path],
    prompts: str | Path | None,
    missing: Missing = "fail",
    names: Sequence[str] = (),
    organs: str | Sequence[str] = (),
) -> list[Item]:
    """List the pictures of a folder that boxes are given for: {image, case, size, prompts}.

    A network that knows categories by name needs no boxes: ``by_name`` of an item are those that
    it is asked for, in every picture of the folder.

    A picture that cannot be opened has an ``error``: the others can go on.

    Args:
        root: the folder; a picture in a folder below goes by its path, or by its name alone. Or a
            picture, or several of these.
        prompts: a JSON file with a list of {box, label?} to a picture's name, boxes XYXY in its
            pixels, corners included; or a COCO file, whose ``bbox`` are taken; or NWPU's folder
            ``ground truth/`` of text boxes.
        names: the categories that the network knows by name.
        organs: those of them that are asked for in every picture; without any, and without
            prompts, all of them.
        missing: leave out boxes that cannot be used, and those of pictures that are not there, or
            fail.

    Raises:
        InputError: no pictures, none that can be opened, boxes that cannot be used or are in other
            units, or boxes for a picture that is not there.
    """
    by_name = check_organs(organs, names)
    if prompts is None and not names:
        raise InputError(
            "prompts is not given: name a JSON file of boxes by --prompts; or train with --names "
            "True: such a model finds what it was trained on without boxes"
        )
    if missing not in get_args(Missing):
        raise unknown("missing", missing, get_args(Missing))
    several = root if isinstance(root, Sequence) and not isinstance(root, str) else [root]
    roots = [Path(str(one)) for one in several]
    pictures, items = _named(roots), list[Item]()
    source = "dataset_dir" if prompts is None else f"prompts={str(prompts)!r}"
    if prompts is None:
        by_name = by_name or list(names)
    else:
        items = _pictures_of(*read_boxes(prompts), roots, pictures, source, missing)
    if by_name:
        boxed = {item["image"] for item in items}
        others = {name: str(path) for name, path in pictures.items() if str(path) not in boxed}
        items += [{"image": path, "case": name, "prompts": []} for name, path in others.items()]
    if taken := [item["image"] for item in items if item["case"].casefold() == "run"]:
        raise InputError(f"{taken[0]} would be answered in run.json, the run's own: rename it")
    made = _made(items, source, missing)
    for item in made:
        corners = [prompt["box"] for prompt in item["prompts"]]
        item["boxes"] = np.asarray(corners, dtype=np.float32).reshape(-1, 4)
        item["by_name"] = [] if "error" in item else by_name
    return made


def _made(items: list[Item], source: str, missing: Missing) -> list[Item]:
    """Return items with the size of their pictures, and the boxes that can be used."""
    headers = each(header_or_error, [item["image"] for item in items], "pictures")
    lost = [header for header in headers if isinstance(header, InputError)]
    if len(lost) == len(items):
        raise InputError(f"none of the {len(items)} pictures can be opened, the first: {lost[0]}")
    pairs = [(i, h) for i, h in zip(items, headers, strict=True) if not isinstance(h, InputError)]
    known = {item["image"]: item for item in sized(pairs, source)}
    _check_units(list(known.values()), source)
    given, faults = sum(len(item["prompts"]) for item in items), list[str]()
    made = []
    for item, header in zip(items, headers, strict=True):
        if isinstance(header, InputError):
            made.append({**item, "size": (1, 1), "prompts": [], "error": str(header)})
        else:
            made.append(_checked_item(known[item["image"]], faults))
    if faults and missing == "fail":
        raise InputError(
            f"{len(faults)} of {given} boxes cannot be used, the first: "
            f"{faults[0]}; or add --missing skip"
        )
    if faults:
        log.warning("%d boxes are left out, the first: %s", len(faults), faults[0])
    return made


def _pictures_of(
    boxes: Boxes,
    sizes: Sizes,
    roots: Sequence[Path],
    pictures: Mapping[str, Path],
    source: str,
    missing: Missing,
) -> list[Item]:
    """Return {image, case, prompts, size?} of the pictures that boxes are given for."""
    cases = {path: name for name, path in pictures.items()}
    folders = [root.parent if root.is_file() else root for root in roots]
    places = locate([name for name in boxes if name not in pictures], folders)
    found: dict[Path, Item] = {}
    unknown_names = []
    for name, prompts in boxes.items():
        path = pictures.get(composed(name)) or places.get(name, folders[0] / name)
        path = path if path in cases else _without_ending(composed(name), pictures, path)
        if path not in cases:
            unknown_names.append(name)
            continue
        if path in found:
            raise InputError(f"{source} names {path.name} twice: join its boxes")
        found[path] = {"image": str(path), "case": cases[path], "prompts": prompts}
        if name in sizes:
            found[path]["size"] = sizes[name]
    if unknown_names:
        error = unknown(f"picture in {source}:", unknown_names[0], list(pictures)[:20])
        if missing == "fail" or not found:
            raise error
        log.warning("%d pictures are not there, the first: %s", len(unknown_names), error)
    if len(found) < len(pictures):
        log.info("%d of %d pictures have no boxes", len(pictures) - len(found), len(pictures))
    return list(found.values())


def _named(roots: Sequence[Path]) -> dict[str, Path]:
    """Return pictures by their names: files, and those below folders."""
    found: dict[str, Path] = {}
    for root in roots:
        one = {composed(root.stem): root} if root.is_file() else pictures_in(root, "dataset_dir")
        if twice := found.keys() & one.keys():
            raise InputError(f"dataset_dir holds two pictures {min(twice)!r}: keep one")
        found |= one
    return found


def _without_ending(name: str, pictures: Mapping[str, Path], path: Path) -> Path:
    """Return the picture in a folder below that a name without folder and ending means, if one."""
    alike = [p for known, p in pictures.items() if known.rpartition("/")[2] == name]
    return alike[0] if len(alike) == 1 else path


def read_boxes(path: str | Path) -> tuple[Boxes, Sizes]:
    """Return the boxes {box, label?} of a file or folder, and the sizes that it tells, by names.

    Raises:
        InputError: it cannot be read, or holds none.
    """
    sizes: Sizes = {}
    if Path(path).is_dir():
        found: Boxes = nwpu_boxes(path)
    else:
        content = read_json(path, _once)
        if isinstance(content, dict) and "annotations" in content:
            found, sizes = _boxes_of_coco(path)
        elif isinstance(content, dict) and all(isinstance(v, list) for v in content.values()):
            found = {name.replace("\\", "/"): boxes for name, boxes in content.items()}
        else:
            raise InputError(f"prompts={str(path)!r} must hold a list of boxes to each picture")
    if not any(found.values()):
        raise InputError(f"prompts={str(path)!r} holds no boxes")
    return found, sizes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"prompts names {twice!r} twice: join its boxes")
    return found


def _boxes_of_coco(path: str | Path) -> tuple[Boxes, Sizes]:
    content = read_coco_json(path)
    names = category_names(content, path)
    listed = pictures_by_id(content, path)
    pictures = {number: picture_name(picture) for number, picture in listed.items()}
    told = {pictures[number]: picture_size(picture) for number, picture in listed.items()}
    sizes: Sizes = {name: size for name, size in told.items() if size}
    found: Boxes = defaultdict(list)
    used = takes_crowds(content["annotations"], path, "skip", "set iscrowd to 0")
    try:
        for annotation in content["annotations"]:
            if is_crowd(annotation) and not used:
                continue
            x, y, width, height = map(float, annotation["bbox"])
            label = names.get(identity(annotation.get("category_id")), "object")
            # a pixel wide at least, but not where there is no box at all
            box = [x, y, x + (max(width, 1) if width > 0 else width) - 1]
            box.append(y + (max(height, 1) if height > 0 else height) - 1)
            found[pictures[identity(annotation["image_id"])]].append(
                {"label": label, "box": box, "thin": True}
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"prompts={str(path)!r}: an annotation has no 'bbox' of x, y, width, height, or "
            f"belongs to no image ({error})"
        ) from error
    return found, sizes


def _check_units(items: list[Item], source: str) -> None:
    """Raise an InputError where boxes are shares of the picture, or x, y, width, height."""
    boxes = [
        (*prompt["box"], *item["size"])
        for item in items
        for prompt in item["prompts"]
        if isinstance(prompt, dict) and _is_box(prompt.get("box")) and min(item["size"]) > 2
    ]
    if not boxes:
        return
    x0, y0, x1, y1, height, width = np.array(boxes, dtype=float).T
    if (np.stack([abs(x0), abs(y0), abs(x1), abs(y1)]) <= 1).all():
        raise InputError(
            f"{source}: all boxes lie between 0 and 1, as shares of the picture: give pixels"
        )
    turned = (x1 < x0) | (y1 < y0)
    inside = (x0 + x1 <= width + 1) & (y0 + y1 <= height + 1) & (x1 > 0) & (y1 > 0)
    if turned.mean() >= 0.5 and inside.all():
        raise InputError(
            f"{source}: {turned.sum()} of {len(boxes)} boxes end before they begin: are they x, y, "
            "width, height? Give the corners x0, y0, x1, y1"
        )
    over = (x1 > width * 1.05) | (y1 > height * 1.05) | (x0 < -0.05 * width) | (y0 < -0.05 * height)
    if over.any():
        log.warning(
            "%s: %d boxes reach far outside their picture and are cut: were they drawn on pictures "
            "of another size?",
            *(source, over.sum()),
        )


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in box
    )
    return numbers and len(box) == 4 and bool(np.isfinite(np.array(box, dtype=float)).all())


def _checked_item(item: Item, faults: list[str]) -> Item:
    """Return an item with those of its prompts that can be used; what others lack is noted."""
    prompts = []
    for number, prompt in enumerate(item["prompts"]):
        try:
            prompts.append(checked_box(prompt, f"{item['image']}: prompt {number}", item["size"]))
        except InputError as error:
            faults.append(str(error))
    return {**item, "prompts": prompts}


def checked_box(prompt: Any, where: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return {label, box} with the box cut at the borders of the picture (H, W).

    Raises:
        InputError: it is no box, has no area, or lies outside.
    """
    box: Any = prompt.get("box") if isinstance(prompt, dict) else None
    if not _is_box(box):
        raise InputError(f"{where} is {prompt!r}: it needs 'box': [x0, y0, x1, y1] in pixels")
    x0, y0, x1, y1 = box
    height, width = size
    thin = prompt.get("thin", False)  # a pixel wide may be, where it cannot be a mistake
    if x0 > x1 or y0 > y1 or (x0 == x1 and width > 1 and not thin):
        raise InputError(f"{where}: box={box} {NO_AREA}")
    if y0 == y1 and height > 1 and not thin:
        raise InputError(f"{where}: box={box} {NO_AREA}")
    if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        raise InputError(f"{where}: box={box} lies outside the picture of {width}x{height} px")
    cut = [max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1)]
    label = prompt.get("label")
    return {"label": "object" if label is None else str(label), "box": cut}
