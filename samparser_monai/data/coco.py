"""COCO files: instances as polygons or RLE, crowds left out."""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as coco
from tqdm import tqdm

from samparser_monai.data.masks import rle_of_segmentation
from samparser_monai.data.pictures import (
    ENDINGS,
    Item,
    Missing,
    as_items,
    opened,
    shown,
    split_pictures,
)
from samparser_monai.errors import InputError

log = logging.getLogger(__name__)


def coco_items(
    root: str | Path, missing: Missing = "fail", min_area: int = 1, year: int = 2017
) -> dict[str, Any]:
    """List COCO's ``annotations/instances_{train,val}2017.json`` beside ``{train,val}2017/``.

    Raises:
        InputError: see read_coco and as_items.
    """
    train, validation = (
        read_coco(
            Path(root) / "annotations" / f"instances_{part}{year}.json",
            [Path(root) / f"{part}{year}", Path(root)],
            missing,
            min_area,
        )
        for part in ("train", "val")
    )
    return as_items(train, validation, root)


def one_file_items(
    annotations: str | Path,
    images: str | Path | Sequence[Path],
    share: float,
    seed: int,
    missing: Missing = "fail",
    min_area: int = 1,
) -> dict[str, Any]:
    """List the pictures of one COCO file, split by a seed; those without instances not at all.

    Raises:
        InputError: see read_coco, split_pictures and as_items.
    """
    items = shown(read_coco(annotations, images, missing, min_area))
    train, validation = split_pictures(items, share, seed)
    return as_items(train, validation, annotations)


def read_coco(
    path: str | Path,
    images: str | Path | Sequence[Path],
    missing: Missing = "fail",
    min_area: int = 1,
) -> list[Item]:
    """Return the pictures of a COCO file: {image, case, size, annotations}.

    An annotation is {label, rle}. Those that cannot be used (no polygon of three points, wholly
    outside, ...) and those under ``min_area`` pixels are left out and counted.

    Args:
        path: of the JSON file.
        images: the folder that its file names start from, or several; failing that, the picture of
            that name anywhere below.
        missing: leave out the pictures that cannot be opened, or fail.
        min_area: of an instance, in pixels.

    Raises:
        InputError: the file is damaged, no COCO file or contradicts itself; see opened.
    """
    content = read_coco_json(path)
    folders = [Path(images)] if isinstance(images, str | Path) else list(images)
    finder = _Finder(folders)
    items: dict[Any, Item] = {}
    for picture in content["images"]:
        if not isinstance(picture, dict) or not {"id", "file_name"} <= picture.keys():
            raise InputError(f"{path}: the image {picture} needs 'id' and 'file_name'")
        if picture["id"] in items:
            raise InputError(
                f"{path}: two images have the id {picture['id']!r}: number them apart, and their "
                "annotations with them"
            )
        name = str(picture["file_name"]).replace("\\", "/")
        item: Item = {"image": str(finder.find(name)), "case": name, "annotations": []}
        if picture.get("height") and picture.get("width"):
            item["size"] = (picture["height"], picture["width"])
        items[picture["id"]] = item
    found = opened(list(items.values()), missing, path)
    size_of = {item["image"]: item["size"] for item in found}
    kept = {number: size_of.get(item["image"]) for number, item in items.items()}
    by_picture = _annotations_of(content, kept, str(path), min_area)
    numbers = [n for n, size in kept.items() if size]
    return [{**i, "annotations": by_picture[n]} for n, i in zip(numbers, found, strict=True)]


def read_coco_json(path: str | Path) -> dict[str, Any]:
    """Return the content of a COCO file.

    Raises:
        InputError: it cannot be read, or is no COCO file.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON file ({error}): replace it") from error
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path} is no COCO file: it needs the lists 'images', 'annotations'")
    return content


def category_names(content: dict[str, Any]) -> dict[Any, str]:
    """Return the categories of a COCO file by their ids."""
    categories = [c for c in content.get("categories") or [] if isinstance(c, dict)]
    return {c.get("id"): str(c.get("name", f"category {c.get('id')}")) for c in categories}


def _annotations_of(
    content: dict[str, Any], sizes: dict[Any, tuple[int, int] | None], source: str, min_area: int
) -> dict[Any, list[Item]]:
    """Return {label, rle} by the pictures' ids; what is left out is counted."""
    names = category_names(content)
    listed = [a for a in content["annotations"] if not (isinstance(a, dict) and a.get("iscrowd"))]
    seen: set[Any] = set()
    twice = [False] * len(listed)
    for n, annotation in enumerate(listed):
        number = annotation.get("id", n) if isinstance(annotation, dict) else n
        twice[n] = str(number) in seen
        seen.add(str(number))

    def instance(pair: tuple[Any, bool]) -> Item | InputError | None:
        annotation, repeated = pair
        try:
            if not isinstance(annotation, dict) or annotation.get("image_id") not in sizes:
                raise InputError("it belongs to no image")
            if repeated:
                raise InputError("another annotation has its id")
            size = sizes[annotation["image_id"]]
            if size is None:
                return None  # with its picture
            number = annotation.get("category_id")
            if names and number not in names:
                raise InputError(f"its category {number!r} is not listed")
            rle = rle_of_segmentation(annotation.get("segmentation"), size)
            if coco.area(rle) < max(min_area, 1):
                raise InputError(f"it covers {coco.area(rle)} pixels of the picture")
            return {"label": names.get(number, f"category {number}"), "rle": rle}
        except (InputError, TypeError) as error:
            named = annotation.get("id") if isinstance(annotation, dict) else annotation
            return InputError(f"annotation {str(named)[:40]}: {error}")

    pairs = tqdm(list(zip(listed, twice, strict=True)), "annotations", leave=False)
    made = [instance(pair) for pair in pairs]
    found: dict[Any, list[Item]] = defaultdict(list)
    for annotation, result in zip(listed, made, strict=True):
        if isinstance(result, dict):
            found[annotation["image_id"]].append(result)
    faults = [result for result in made if isinstance(result, InputError)]
    if faults and len(faults) == len(listed):
        raise InputError(
            f"{source}: none of its {len(faults)} annotations can be used, the first: {faults[0]}"
        )
    if faults:
        log.warning(
            "%s: %d of %d annotations are left out, the first: %s",
            *(source, len(faults), len(listed), faults[0]),
        )
    return found


class _Finder:
    """Where pictures lie: under their name, or anywhere below one of some folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.below: dict[str, Path] | None = None

    def find(self, name: str) -> Path:
        """Return the path of a picture; where there is none, the one that it should have."""
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        if self.below is None:
            self.below = {
                path.name: path
                for folder in reversed(self.folders)
                for path in sorted(folder.rglob("*"), reverse=True)
                if path.suffix.lower() in ENDINGS
            }
        return self.below.get(Path(name).name, self.folders[0] / name)
