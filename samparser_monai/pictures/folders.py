"""A folder of pictures and a folder of masks, of any origin; or a COCO file in place of masks."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from samparser_monai.errors import InputError, unknown
from samparser_monai.geometry.run_lengths import components, rle_of
from samparser_monai.pictures.coco import Crowds, read_coco
from samparser_monai.pictures.conventions import (
    check_sharp,
    is_blurred,
    is_jpeg,
    listed,
    objects_of,
    void_of,
)
from samparser_monai.pictures.finding import pictures_in
from samparser_monai.pictures.listing import (
    Item,
    Missing,
    as_items,
    each,
    label_of,
    opened,
    split_items,
)
from samparser_monai.pictures.reading import COLOUR, colour_of, colour_value

Kind = Literal["binary", "class", "instance"]
Classes = Mapping[str, int | Sequence[int]]
log = logging.getLogger(__name__)


def custom_items(
    images: str | Path | None,
    masks: str | Path | None = None,
    annotations: str | Path | None = None,
    mask_kind: Kind | None = None,
    classes: Classes | None = None,
    share: float = 0.8,
    seed: int = 2023,
    missing: Missing = "fail",
    min_area: int = 1,
    crowds: Crowds = "skip",
    val_images: str | Path | None = None,
    val_masks: str | Path | None = None,
    val_annotations: str | Path | None = None,
) -> dict[str, Any]:
    """List pictures of your own, split by a seed unless those to validate on are named.

    Args:
        images: a folder; or, alone, one in Roboflow's layout: ``train/`` and ``valid/`` with
            ``_annotations.coco.json`` beside the pictures.
        masks: a folder with a mask to each picture, see masked_items.
        annotations: a COCO file in place of masks.
        mask_kind: what the values of a mask are: ``binary``: whatever is not 0 is an object,
            ``class``: of objects (in both, each connected component is an instance),
            ``instance``: each value is an instance. None where masks have two values. What is
            void is neither object nor background, see void_of.
        classes: name -> value, or [red, green, blue]; for ``class``. Others are ignored.
        share: of the pictures that train.
        seed: of the split.
        missing: leave out pictures that cannot be opened or have no mask, or fail.
        min_area: of an instance, in pixels.
        crowds: see read_coco.
        val_images: the folder of the pictures to validate on; ``images`` if not given.
        val_masks: their masks.
        val_annotations: their COCO file.

    Raises:
        InputError: not two paths; see read_coco and masked_items.
    """
    if images is not None and masks is None and annotations is None:
        root = Path(str(images))
        train, valid = (root / part / "_annotations.coco.json" for part in ("train", "valid"))
        if train.is_file() and valid.is_file():
            images, annotations = train.parent, train
            val_images, val_annotations = valid.parent, valid
    if images is None or (masks is None) == (annotations is None):
        raise InputError(
            "name the pictures and what is on them: --images DIR --masks DIR, or "
            "--images DIR --annotations FILE for a COCO file"
        )
    if val_images is not None and val_masks is None and val_annotations is None:
        raise InputError("val_images needs what is on them: --val_masks or --val_annotations")

    def listed_items(images: str | Path, masks: Any, annotations: Any) -> list[Item]:
        if annotations is not None:
            return read_coco(annotations, images, missing, min_area, crowds)
        return drawn_items(images, masks, mask_kind, classes, missing, min_area)

    items = listed_items(images, masks, annotations)
    if val_masks is None and val_annotations is None:
        return split_items(items, share, seed, masks or annotations)
    held_out = listed_items(val_images or images, val_masks, val_annotations)
    return as_items(items, held_out, images)


def drawn_items(
    images: str | Path,
    masks: str | Path,
    mask_kind: Kind | None,
    classes: Classes | None,
    missing: Missing,
    min_area: int,
) -> list[Item]:
    """Return masked_items by what the values of the masks are, see custom_items.

    Raises:
        InputError: masks that have a value each, but not the same, and no kind is given.
    """

    def instances(label: np.ndarray, path: Path) -> Item:
        return instances_by(mask_kind, label, path, classes or {}, min_area)

    items = masked_items(images, masks, instances, missing)
    single = {item.pop("value"): item["image"] for item in items if "value" in item}
    if len(single) > 1:
        (one, first), (other, second) = sorted(single.items())[:2]
        raise InputError(
            f"masks={str(masks)!r}: that of {first} has the value {one} beside 0, that of {second} "
            f"{other}: tell what they are by --mask_kind binary, class or instance"
        )
    if items and all([item.pop("corners", False) for item in items]):
        log.warning(
            "masks=%r: objects cover all corners of all pictures: are they drawn in black "
            "on white? The background must be 0",
            str(masks),
        )
    if voids := sum("ignored" in item for item in items):
        log.warning("%d of %d masks have void, which is not asked for", voids, len(items))
        for item in items:
            item.setdefault("ignored", rle_of(np.zeros(item["size"])))
    return items


def masked_items(
    images: str | Path,
    masks: str | Path,
    instances: Callable[[np.ndarray, Path], Item],
    missing: Missing = "fail",
) -> list[Item]:
    """Return the pictures that have a mask: {image, case, size, annotations}.

    Every mask is read, so that whatever is wrong with one is told before training.

    Args:
        images: a folder.
        masks: a folder; a mask has its picture's name, the endings aside. Where none has, what
            all pictures begin or end with, and what all masks do, is left aside too: ``1.jpg`` and
            ``1_mask.png``, ``img_01.tif`` and ``label_01.tif``.
        instances: (mask HxW, its path) -> {annotations: [{label, rle}], ...}.
        missing: leave out pictures that cannot be opened or have no mask, or fail.

    Raises:
        InputError: pictures without masks, or of another size than theirs; see opened.
    """
    labels = pictures_in(masks, "masks")
    drawn = {path.resolve() for path in labels.values()}  # masks may lie below the pictures
    pictures = {n: p for n, p in pictures_in(images, "images").items() if p.resolve() not in drawn}
    if not pictures:
        raise InputError(f"images={str(images)!r} holds the masks alone: name the pictures' folder")
    if not pictures.keys() & labels.keys():
        pictures, labels = _bare(pictures), _bare(labels)
    lone = [name for name in pictures if name not in labels]
    if lone and (missing == "fail" or len(lone) == len(pictures)):
        raise InputError(
            f"{len(lone)} of {len(pictures)} pictures in {images} have no mask of their name in "
            f"{masks}, the first is {pictures[lone[0]].name}: add it, or add --missing skip"
        )
    if lone:
        log.warning("%d of %d pictures have no mask and are left out", len(lone), len(pictures))
    names = [name for name in pictures if name in labels]
    items = [{"image": str(pictures[n]), "case": n, "label": labels[n]} for n in names]
    items = opened(items, missing, images)

    def annotated(item: Item) -> Item:
        path = item.pop("label")
        return {**item, **instances(label_of(item, path), path)}

    return each(annotated, items, "masks")


def _bare(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return paths by names without what all begin and end with; digits are never that."""
    first = _shared(paths)
    last = _shared(name[::-1] for name in paths)[::-1]
    return {name.removeprefix(first).removesuffix(last): path for name, path in paths.items()}


def _shared(names: Iterable[str]) -> str:
    shared = os.path.commonprefix(list(names))  # noqa: RUF071 -- of names, not of folders
    return re.sub(r"\d+$", "", shared)


def instances_by(
    kind: Kind | None, label: np.ndarray, path: Path, classes: Classes, min_area: int
) -> Item:
    """Return {annotations, ignored?} of a mask, see custom_items.

    And ``value``, where there is one alone, and whether objects cover all ``corners``.

    Raises:
        InputError: a kind that is not known, or must be given; values that it does not fit.
    """
    if kind is not None and kind not in get_args(Kind):
        raise unknown("mask_kind", kind, get_args(Kind))
    if not isinstance(classes, Mapping):
        raise InputError(f"classes={classes!r} must give each name its value: {{'roof': 1}}")
    named = {_value(v): name for name, v in classes.items()}
    void = void_of(label, path, named)
    label = np.where(void | (label < 0), 0, label)
    item: Item = {"ignored": rle_of(void)} if void.any() else {}
    values = [int(value) for value in np.unique(label) if value]
    if kind is None and len(values) > 1 and not is_blurred(label) and not is_jpeg(path):
        raise InputError(
            f"{path} has {len(values)} values beside 0 ({listed(np.array(values))}): tell what "
            "they are by --mask_kind binary, class or instance"
        )
    if kind in (None, "binary"):
        drawn = objects_of(label, path)
        if kind is None and len(values) == 1 and not is_jpeg(path):
            item["value"] = values[0]
        item["corners"] = bool(drawn[[0, 0, -1, -1], [0, -1, 0, -1]].all())
        found = [{"label": "object", "rle": r} for r in components(drawn, min_area)]
    elif kind == "instance":
        check_sharp(label, path)
        masks = [label == value for value in values]
        found = [{"label": "object", "rle": rle_of(m)} for m in masks if m.sum() >= min_area]
    else:
        if not named:
            check_sharp(label, path)
        found = [
            {"label": named.get(v) or _class_name(v), "rle": rle}
            for v in values
            if not named or v in named
            for rle in components(label == v, min_area)
        ]
    return {**item, "annotations": found}


def _value(given: Any) -> int:
    """Return a class's value as read_label gives it."""
    if isinstance(given, int):
        return given
    if (
        isinstance(given, list | tuple)
        and len(given) == 3
        and all(isinstance(v, int) and 0 <= v <= 65535 for v in given)
    ):
        red, green, blue = given
        return red if red == green == blue else colour_value(given)
    raise InputError(f"classes: {given!r} must be a number or [red, green, blue] from 0 to 255")


def _class_name(value: int) -> str:
    if value < COLOUR:
        return f"class {value}"
    return "class " + ",".join(map(str, colour_of(value)))
