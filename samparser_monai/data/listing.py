"""Items of pictures: found, opened, split; what all formats share."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from tqdm.contrib.concurrent import thread_map

from samparser_monai.data.pictures import picture_size, read_label
from samparser_monai.errors import InputError, at_least, unknown

Item = dict[str, Any]
Missing = Literal["skip", "fail"]
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
log = logging.getLogger(__name__)


def each(function: Callable[[Any], Any], things: Sequence[Any], what: str) -> list[Any]:
    """Return what a function makes of each thing, in threads, with a progress bar."""
    return thread_map(
        function, things, max_workers=min(4, os.cpu_count() or 1), desc=what, leave=False
    )


def pictures_in(folder: str | Path, argument: str) -> dict[str, Path]:
    """Return the pictures below a folder by their paths in it, without endings.

    Hidden files and folders, and what macOS leaves in archives, are no pictures.

    Raises:
        InputError: no folder, no pictures, or two of one name.
    """
    folder = Path(str(folder))  # the command line makes a number of "2012"
    if not folder.is_dir():
        raise InputError(f"{argument}={str(folder)!r} is no folder: name one with pictures")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
        if path.suffix.lower() in ENDINGS and not hidden:
            name = place.with_suffix("").as_posix()
            if name in found:
                raise InputError(f"{found[name]} and {path} have one name: keep one")
            found[name] = path
    if not found:
        raise InputError(
            f"{argument}={str(folder)!r} holds no pictures: expected {', '.join(ENDINGS)}"
        )
    return found


class Finder:
    """Where pictures lie: under their name, or the only one of that name below some folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.below: dict[str, set[Path]] | None = None

    def find(self, name: str) -> Path:
        """Return the path of a picture; where there is none, the one that it should have.

        Capitals in endings do not matter, nor does the spelling of ``jpeg``.
        """
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        if self.below is None:
            self.below = defaultdict(set)
            for path in {p for folder in self.folders for p in folder.rglob("*")}:
                if path.suffix.lower() in ENDINGS:
                    self.below[_plain(path.name)].add(path)
        paths = self.below.get(_plain(Path(name).name), set())
        return next(iter(paths)) if len(paths) == 1 else self.folders[0] / name


def _plain(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem + dot + ending.lower().replace("jpeg", "jpg")


def opened(items: Sequence[Item], missing: Missing, source: str | Path) -> list[Item]:
    """Return the items whose pictures are there and can be opened; all items have a ``size``.

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

    def size_of(item: Item) -> tuple[int, int] | InputError:
        try:
            return picture_size(item["image"], item.get("size"))
        except InputError as error:
            return error

    sizes = each(size_of, items, "pictures")
    lost = [size for size in sizes if isinstance(size, InputError)]
    if lost and (missing == "fail" or len(lost) == len(items)):
        raise InputError(
            f"{len(lost)} of the {len(items)} pictures of {source} cannot be opened, the first: "
            f"{lost[0]}" + ("" if len(lost) == len(items) else "; or add --missing skip")
        )
    if lost:
        log.warning("%d of %d pictures are left out: %s", len(lost), len(items), lost[0])
    found = [(i, s) for i, s in zip(items, sizes, strict=True) if not isinstance(s, InputError)]
    wrong = [(i, s) for i, s in found if i.get("size", s) != s]
    if wrong:
        (item, size), (height, width) = wrong[0], wrong[0][0]["size"]
        raise InputError(
            f"{len(wrong)} pictures of {source} have another size than their annotations, the "
            f"first: {item['image']} has {size[1]}x{size[0]} px, its annotations {width}x{height}; "
            "correct one of them"
        )
    return [{**item, "size": size} for item, size in found]


def label_of(item: Item, path: Path) -> np.ndarray:
    """Read the label picture of an item that has its ``size``.

    Raises:
        InputError: it cannot be read, or is of another size.
    """
    label = read_label(path)
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
        InputError: no picture is left for training, or for validation.
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
