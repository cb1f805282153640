"""Items of pictures: found, opened, split; what all formats share."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from tqdm.contrib.concurrent import thread_map

from samparser_monai.errors import InputError, at_least, unknown
from samparser_monai.pictures.decoding import Header
from samparser_monai.pictures.reading import orientation_for, read_header, read_label

Item = dict[str, Any]
Missing = Literal["skip", "fail"]
log = logging.getLogger(__name__)


def each(function: Callable[[Any], Any], things: Sequence[Any], what: str) -> list[Any]:
    """Return what a function makes of each thing, in threads, with a progress bar."""
    return thread_map(
        function, things, max_workers=min(4, os.cpu_count() or 1), desc=what, leave=False
    )


def opened(items: Sequence[Item], missing: Missing, source: str | Path) -> list[Item]:
    """Return the items whose pictures are there and whole; all items have a ``size``.

    Args:
        items: {image, ...}; ``size`` (H, W) where the annotations tell it.
        missing: leave out the pictures that cannot be opened, or fail.
        source: what lists the pictures.

    Raises:
        InputError: pictures are missing and ``missing`` is fail, all are, or their sizes differ
            from those in their annotations.
    """
    if missing not in get_args(Missing):
        raise unknown("missing", missing, get_args(Missing))
    headers = each(header_or_error, [item["image"] for item in items], "pictures")
    lost = [header for header in headers if isinstance(header, InputError)]
    if lost and (missing == "fail" or len(lost) == len(items)):
        raise InputError(
            f"{len(lost)} of the {len(items)} pictures of {source} cannot be opened, the first: "
            f"{lost[0]}" + ("" if len(lost) == len(items) else "; or add --missing skip")
        )
    if lost:
        log.warning("%d of %d pictures are left out: %s", len(lost), len(items), lost[0])
    return sized(
        [(i, h) for i, h in zip(items, headers, strict=True) if not isinstance(h, InputError)],
        source,
    )


def header_or_error(path: str) -> Header | InputError:
    """Return the header of a picture, or why there is none."""
    try:
        return read_header(path)
    except InputError as error:
        return error


def sized(found: Sequence[tuple[Item, Header]], source: str | Path) -> list[Item]:
    """Return items with the ``size`` (H, W) of their pictures as they will be read.

    What annotations tell of the size tells whether a picture that its EXIF turns is meant as it is
    stored; where it cannot (squares, half turns), the other pictures of the source tell. Those
    that are have the ``orientation`` 1.

    Raises:
        InputError: sizes differ from those in the annotations.
    """
    turns = {
        id(item): orientation_for(header, item.get("size")) == 1
        for item, header in found
        if "size" in item and header.orientation > 1 and header.size != header.upright
    }
    stored = bool(turns) and all(turns.values())
    items, wrong, unsure = [], [], 0
    for item, header in found:
        told = item.get("size")
        alike = told is not None and header.orientation > 1 and header.size == header.upright
        unsure += alike and not turns
        kept = header.orientation > 1 and (turns.get(id(item)) or (alike and stored))
        size = header.size if kept else header.upright
        items.append({**item, "size": size, **({"orientation": 1} if kept else {})})
        if told not in (None, size):
            wrong.append((item["image"], size, told))
    if wrong:
        name, (height, width), told = wrong[0]
        raise InputError(
            f"{len(wrong)} pictures of {source} have another size than their annotations, the "
            f"first: {name} has {width}x{height} px, its annotations {told[1]}x{told[0]}; "
            "correct one of them"
        )
    if unsure:
        log.warning(
            "%s: EXIF turns %d pictures whose size does not tell whether they were annotated so: "
            "they are taken upright, as viewers show them",
            *(source, unsure),
        )
    return items


def label_of(item: Item, path: Path) -> np.ndarray:
    """Read the label picture of an item that has its ``size``.

    Raises:
        InputError: it cannot be read, or is of another size.
    """
    label = read_label(path, item["size"])
    if label.shape != item["size"]:
        raise InputError(
            f"{path} has {label.shape[1]}x{label.shape[0]} px and {item['image']} "
            f"{item['size'][1]}x{item['size'][0]}: a mask must have its picture's size"
        )
    return label


def split_pictures(
    items: Sequence[Item], share: float, seed: int, source: object
) -> tuple[list[Item], list[Item]]:
    """Split items into training and validation, at least one each.

    Raises:
        InputError: the share is not between 0 and 1, or there are fewer than two items.
    """
    at_least(0, seed=seed)
    if not isinstance(share, float) or not 0 < share < 1:
        raise InputError(f"train_share must be between 0 and 1, not {share!r}")
    if len(items) < 2:
        raise InputError(
            f"{source}: {len(items)} pictures show an instance of at least min_area pixels (crowds "
            "do not count): a split needs at least two"
        )
    order = np.random.default_rng(seed).permutation(len(items))
    count = min(max(round(share * len(items)), 1), len(items) - 1)
    train = set(order[:count].tolist())
    sides: tuple[list[Item], list[Item]] = ([], [])
    for n, item in enumerate(items):
        sides[n not in train].append(item)
    return sides


def shown(items: Iterable[Item]) -> list[Item]:
    """Return the items that show an instance."""
    return [item for item in items if item["annotations"]]


def as_items(train: Sequence[Item], validation: Sequence[Item], source: object) -> dict[str, Any]:
    """Return what an item function gives: pictures without instances are left out and counted.

    Returns:
        ``train`` and ``validation``, ``labels`` (the categories that occur) and ``empty`` (the
        pictures without instances in each).

    Raises:
        InputError: no picture is left for training, or for validation; or one is in both.
    """
    parts: Mapping[str, Sequence[Item]] = {"train": train, "validation": validation}
    kept = {name: shown(items) for name, items in parts.items()}
    empty = {name: len(items) - len(kept[name]) for name, items in parts.items()}
    for name, items in kept.items():
        if not items:
            raise InputError(
                f"{source} has no instance for {name}: {empty[name]} pictures, none of which "
                "shows one of at least min_area pixels"
            )
        if empty[name]:
            log.info("%s: %d pictures show no instance and are left out", name, empty[name])
    both = [{os.path.realpath(item["image"]) for item in items} for items in kept.values()]
    if twice := sorted(set.intersection(*both)):
        raise InputError(
            f"{source}: {len(twice)} pictures both train and validate, the first is {twice[0]}: "
            "keep each in one part"
        )
    labels = {a["label"] for items in kept.values() for i in items for a in i["annotations"]}
    return {**kept, "labels": sorted(labels), "empty": empty}


def split_items(items: Sequence[Item], share: float, seed: int, source: object) -> dict[str, Any]:
    """Return as_items of the pictures that show an instance, split by a seed.

    The others are counted as ``unsplit``.
    """
    train, validation = split_pictures(shown(items), share, seed, source)
    found = as_items(train, validation, source)
    found["empty"]["unsplit"] = len(items) - len(train) - len(validation)
    return found
