"""COCO files: instances as polygons or RLE, crowds left out."""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pycocotools import mask as coco
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown
from samparser_monai.files import read_json
from samparser_monai.geometry.run_lengths import rle_of_segmentation, slivers
from samparser_monai.pictures.finding import locate, part_of
from samparser_monai.pictures.listing import Item, Missing, as_items, opened, split_items

Crowds = Literal["skip", "use"]
log = logging.getLogger(__name__)


def coco_items(
    root: str | Path, missing: Missing = "fail", min_area: int = 1, year: int = 2017
) -> dict[str, Any]:
    """List COCO's ``annotations/instances_{train,val}2017.json`` beside ``{train,val}2017/``.

    Raises:
        InputError: another layout; see read_coco and as_items.
    """
    if not (Path(str(root)) / "annotations").is_dir():
        raise InputError(
            f"dataset_dir={str(root)!r} has no annotations/: expected the layout of COCO; for any "
            "other COCO file use scenario 'custom'"
        )
    train, validation = (
        read_coco(
            Path(str(root)) / "annotations" / f"instances_{part}{year}.json",
            [Path(str(root)) / f"{part}{year}", Path(str(root))],
            missing,
            min_area,
        )
        for part in ("train", "val")
    )
    return as_items(train, validation, root)


def one_file_items(
    annotations: str | Path,
    images: str | Path | list[Path],
    share: float,
    seed: int,
    missing: Missing = "fail",
    min_area: int = 1,
    crowds: Crowds = "skip",
) -> dict[str, Any]:
    """List the pictures of one COCO file, split by a seed.

    Raises:
        InputError: see read_coco, split_pictures and as_items.
    """
    items = read_coco(annotations, images, missing, min_area, crowds)
    return split_items(items, share, seed, annotations)


def read_coco(
    path: str | Path,
    images: str | Path | list[Path],
    missing: Missing = "fail",
    min_area: int = 1,
    crowds: Crowds = "skip",
) -> list[Item]:
    """Return the pictures of a COCO file: {image, case, size, annotations}.

    An annotation is {label, rle}. Those that cannot be used (no polygon of three points, wholly
    outside, ...) and those under ``min_area`` pixels are left out and counted.

    Args:
        path: of the JSON file; where it or its folder is named for a part of a data set (train,
            val, valid, test), pictures are not taken from folders named for another.
        images: the folder that its file names start from, or several, see locate.
        missing: leave out the pictures that cannot be opened, or fail.
        min_area: of an instance, in pixels.
        crowds: what becomes of annotations with ``iscrowd`` 1: COCO's are groups of objects, CVAT
            marks so whatever was drawn with its brush. Where all are so marked, they are used.

    Raises:
        InputError: the file is damaged, no COCO file or contradicts itself; see opened.
    """
    at_least(0, min_area=min_area)
    if crowds not in get_args(Crowds):
        raise unknown("crowds", crowds, get_args(Crowds))
    content = read_coco_json(path)
    folders = images if isinstance(images, list) else [Path(str(images))]
    items = _pictures_of(content, folders, Path(path))
    found = {item.pop("number"): item for item in opened(list(items.values()), missing, path)}
    by_picture = _annotations_of(content, items.keys(), found, str(path), min_area, crowds)
    return [{**item, "annotations": by_picture[number]} for number, item in found.items()]


def _pictures_of(content: dict[str, Any], folders: Sequence[Path], path: Path) -> dict[str, Item]:
    """Return {image, case, number, size?} by the pictures' ids; size where it is told as numbers.

    Raises:
        InputError: see pictures_by_id.
    """
    items: dict[str, Item] = {}
    for number, picture in pictures_by_id(content, path).items():
        items[number] = {"case": picture_name(picture), "number": number}
        if size := picture_size(picture):
            items[number]["size"] = size
    names = [item["case"] for item in items.values()]
    places = locate(names, folders, part_of(path.stem, path.parent.name))
    return {number: {"image": str(places[i["case"]]), **i} for number, i in items.items()}


def pictures_by_id(content: dict[str, Any], path: str | Path) -> dict[str, dict[str, Any]]:
    """Return the images of a COCO file by their ids.

    Raises:
        InputError: an image without id or name, or two of one.
    """
    found: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for picture in content["images"]:
        name = picture_name(picture)
        if not name or "id" not in picture:
            raise InputError(f"{path}: the image {str(picture)[:80]} needs 'id' and 'file_name'")
        number = identity(picture["id"])
        if number in found:
            raise InputError(
                f"{path}: two images have the id {number}: number them apart, and their "
                "annotations with them"
            )
        if name in names:
            raise InputError(f"{path}: two images have the file_name {name!r}: join them")
        names.add(name)
        found[number] = picture
    return found


def identity(number: Any) -> str:
    """Return an id in one spelling: 7, 7.0 and "7" are one."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def is_crowd(annotation: Mapping[str, Any]) -> bool:
    """Tell whether an annotation is marked as a crowd, as a number or in text."""
    flag = identity(annotation.get("iscrowd") or 0).strip().lower()
    return flag not in ("", "0", "false", "none", "null", "no")


def takes_crowds(
    annotations: Sequence[Any], source: str | Path, crowds: Crowds, instead: str
) -> bool:
    """Tell whether annotations marked as crowds are used: where all are so marked, they are.

    Args:
        annotations: of a COCO file; those marked are counted in a warning.
        source: the file.
        crowds: use them in any case, or not.
        instead: what to do where they are single objects.
    """
    marked = sum(isinstance(a, dict) and is_crowd(a) for a in annotations)
    used = crowds == "use" or marked == len(annotations)
    if marked:
        log.warning(
            "%s: %d of %d annotations are crowds (iscrowd 1) and are %s; they are groups in COCO, "
            "and single objects where CVAT's brush drew them: for these %s",
            *(source, marked, len(annotations), "used" if used else "left out", instead),
        )
    return used


def picture_size(picture: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (H, W) of a COCO file's image where the file tells it."""
    try:
        height, width = (float(picture[side]) for side in ("height", "width"))
        return (int(height), int(width)) if height >= 1 and width >= 1 else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def picture_name(picture: Any) -> str:
    """Return the name of a COCO file's image, or that at the end of its address; else nothing."""
    if not isinstance(picture, dict):
        return ""
    address = str(picture.get("coco_url") or "")
    name = picture.get("file_name") or address.rpartition("/")[2]
    return str(name).replace("\\", "/")


def read_coco_json(path: str | Path) -> dict[str, Any]:
    """Return the content of a COCO file.

    Raises:
        InputError: it cannot be read, or is no COCO file.
    """
    content = read_json(path)
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f"{path} is no COCO file: it needs the lists 'images', 'annotations'")
    return content


def category_names(content: dict[str, Any], path: str | Path) -> dict[str, str]:
    """Return the categories of a COCO file by their ids.

    Raises:
        InputError: two names have one id.
    """
    categories = [c for c in content.get("categories") or [] if isinstance(c, dict) and "id" in c]
    found: dict[str, str] = {}
    for category in categories:
        number = identity(category["id"])
        name = str(category.get("name") or f"category {number}")
        if found.setdefault(number, name) != name:
            raise InputError(
                f"{path}: the categories {found[number]!r} and {name!r} have the id {number}: "
                "number them apart, and their annotations with them"
            )
    return found


def _annotations_of(
    content: dict[str, Any],
    listed: Collection[str],
    pictures: Mapping[str, Item],
    source: str,
    min_area: int,
    crowds: Crowds,
) -> dict[str, list[Item]]:
    """Return {label, rle} by the pictures' ids; what cannot be used is counted.

    Args:
        content: of the file.
        listed: the ids of all its pictures.
        pictures: those of them that are there.
        source: the file.
        min_area: of an instance.
        crowds: use what is marked as one, or not.
    """
    names = category_names(content, source)
    annotations = content["annotations"]
    used = takes_crowds(annotations, source, crowds, "--crowds use (custom)")
    found: dict[str, list[Item]] = defaultdict(list)
    faults: list[str] = []
    seen: set[tuple[str, str]] = set()
    thin = 0
    for annotation in tqdm(annotations, "annotations", leave=False):
        try:
            if not isinstance(annotation, dict) or (
                (picture := identity(annotation.get("image_id"))) not in listed
            ):
                raise InputError("it belongs to no image")
            number = identity(annotation.get("id"))
            if (picture, number) in seen and number != "None":
                raise InputError("another annotation of its image has its id")
            seen.add((picture, number))  # some tools number them anew in each picture
            if picture in pictures and (used or not is_crowd(annotation)):
                made = _instance(annotation, names, pictures[picture]["size"], min_area)
                found[picture].append(made)
                thin += slivers(annotation["segmentation"])
        except InputError as error:
            named = annotation.get("id") if isinstance(annotation, dict) else annotation
            faults.append(f"annotation {str(named)[:40]}: {error}")
    if faults and not found:
        raise InputError(
            f"{source}: none of its annotations can be used; of {len(faults)} the first: "
            f"{faults[0]}"
        )
    if faults:
        log.warning(
            "%s: %d of %d annotations are left out, the first: %s",
            *(source, len(faults), len(annotations), faults[0]),
        )
    if thin:
        log.warning("%s: %d polygons of under three points are passed over", source, thin)
    return found


def _instance(
    annotation: Item, names: Mapping[str, str], size: tuple[int, int], min_area: int
) -> Item:
    """Return {label, rle} of an annotation in a picture (H, W)."""
    number = identity(annotation.get("category_id"))
    if names and number not in names:
        raise InputError(f"its category {number} is not listed")
    rle = rle_of_segmentation(annotation.get("segmentation"), size)
    if coco.area(rle) < max(min_area, 1):
        raise InputError(f"it covers {coco.area(rle)} pixels of the picture")
    return {"label": names.get(number, f"category {number}"), "rle": rle}
