"""A folder of pictures and a folder of masks, of any origin; or a COCO file in place of masks."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from samparser_monai.data.coco import one_file_items
from samparser_monai.data.listing import (
    Item,
    Missing,
    each,
    label_of,
    opened,
    pictures_in,
    split_items,
)
from samparser_monai.data.masks import components, rle_of
from samparser_monai.data.pictures import COLOUR, colour_value
from samparser_monai.errors import InputError, unknown

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
) -> dict[str, Any]:
    """List pictures of your own, split by a seed.

    Args:
        images: a folder.
        masks: a folder with a mask to each picture, see masked_items.
        annotations: a COCO file in place of masks.
        mask_kind: what the values of a mask are: ``binary``: whatever is not 0 is an object,
            ``class``: of objects (in both, each connected component is an instance),
            ``instance``: each value is an instance. None where masks have two values.
        classes: name -> value, or [red, green, blue]; for ``class``. Others are ignored.
        share: of the pictures that train.
        seed: of the split.
        missing: leave out pictures that cannot be opened or have no mask, or fail.
        min_area: of an instance, in pixels.

    Raises:
        InputError: not two paths; see one_file_items and masked_items.
    """
    if images is None or (masks is None) == (annotations is None):
        raise InputError(
            "name the pictures and what is on them: --images DIR --masks DIR, or "
            "--images DIR --annotations FILE for a COCO file"
        )
    if annotations is not None:
        return one_file_items(annotations, images, share, seed, missing, min_area)

    def instances(label: np.ndarray, path: Path) -> list[Item]:
        return instances_by(mask_kind, label, path, classes or {}, min_area)

    return split_items(masked_items(images, masks or "", instances, missing), share, seed, masks)


def masked_items(
    images: str | Path,
    masks: str | Path,
    instances: Callable[[np.ndarray, Path], list[Item]],
    missing: Missing = "fail",
) -> list[Item]:
    """Return the pictures that have a mask: {image, case, size, annotations}.

    Every mask is read, so that whatever is wrong with one is told before training.

    Args:
        images: a folder.
        masks: a folder; a mask has its picture's name, the endings aside. Where none has, what
            all pictures begin or end with, and what all masks do, is left aside too: ``1.jpg`` and
            ``1_mask.png``, ``img_01.tif`` and ``label_01.tif``.
        instances: (mask HxW, its path) -> its annotations {label, rle}.
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
        return {**item, "annotations": instances(label_of(item, path), path)}

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
) -> list[Item]:
    """Return the annotations of a mask, see custom_items.

    Raises:
        InputError: a kind that is not known, or must be given.
    """
    if kind is not None and kind not in get_args(Kind):
        raise unknown("mask_kind", kind, get_args(Kind))
    if lossy := path.suffix.lower() in (".jpg", ".jpeg"):  # its values are blurred
        label = (label > 127).astype(np.int64)
    values = [int(value) for value in np.unique(label) if value]
    if kind in (None, "binary"):
        if kind is None and len(values) > 1:
            raise InputError(
                f"{path} has {len(values)} values beside 0 ({str(values[:5])[1:-1]}, ...): tell "
                "what they are by --mask_kind binary, class or instance"
            )
        return [{"label": "object", "rle": r} for r in components(label > 0, min_area)]
    if lossy:
        raise InputError(f"{path}: JPEG blurs the values of mask_kind={kind!r}: save it as PNG")
    if kind == "instance":
        masks = [label == value for value in values]
        return [{"label": "object", "rle": rle_of(m)} for m in masks if m.sum() >= min_area]
    if not isinstance(classes, Mapping):
        raise InputError(f"classes={classes!r} must give each name its value: {{'roof': 1}}")
    named = {_value(v): name for name, v in classes.items()}
    chosen = [v for v in values if v in named] if named else values
    return [
        {"label": named.get(v) or _class_name(v), "rle": rle}
        for v in chosen
        for rle in components(label == v, min_area)
    ]


def _value(given: int | Sequence[int]) -> int:
    """Return a class's value as read_label gives it."""
    if isinstance(given, int):
        return given
    if len(given) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in given):
        red, green, blue = given
        return red if red == green == blue else colour_value(given)
    raise InputError(f"classes: {given!r} must be a number or [red, green, blue] from 0 to 255")


def _class_name(value: int) -> str:
    if value < COLOUR:
        return f"class {value}"
    return f"class {value >> 16 & 255},{value >> 8 & 255},{value & 255}"
