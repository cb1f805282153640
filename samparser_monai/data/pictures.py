"""Pictures and label pictures on disk, read and checked; what all their formats share."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError
from tqdm.contrib.concurrent import thread_map

from samparser_monai.errors import InputError, unknown

Item = dict[str, Any]
Missing = Literal["skip", "fail"]
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
log = logging.getLogger(__name__)

Image.MAX_IMAGE_PIXELS = None  # an aerial picture is large, not an attack


def read_picture(path: str | Path, bands: Sequence[int] | None = None) -> np.ndarray:
    """Read a picture as HxWx3 float32 from 0 to 255.

    Eight bits are taken as they are; of other numbers the 0.5 and 99.5 percentiles become 0 and
    255. One band is repeated; an alpha band is dropped.

    Args:
        path: PNG, JPEG, TIFF, ...
        bands: the one or three bands to take, numbered from 1.

    Raises:
        InputError: it cannot be read, or has more bands and ``bands`` does not choose.
    """
    array = _read(Path(path), colours=True)
    array = array[..., None] if array.ndim == 2 else array
    count = array.shape[2]
    if bands is not None:
        if len(bands) not in (1, 3) or not all(b in range(1, count + 1) for b in bands):
            raise InputError(
                f"bands={list(bands)} must be one or three numbers from 1 to {count}, the bands of "
                f"{path}"
            )
        array = array[..., [b - 1 for b in bands]]
    elif count > 4:
        raise InputError(f"{path} has {count} bands: choose three, by --bands '[3,2,1]' say")
    else:
        array = array[..., : 3 if count >= 3 else 1]
    return np.repeat(_to_bytes(array, path), 3 // array.shape[2], axis=2)


def _to_bytes(array: np.ndarray, path: str | Path) -> np.ndarray:
    if array.dtype == np.uint8:
        return array.astype(np.float32)
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds pixels that are NaN or infinite: replace them")
    low, high = np.percentile(array, (0.5, 99.5))
    if low == high:
        low, high = array.min(), max(array.max(), array.min() + 1)
    return (np.clip((array - low) / (high - low), 0, 1) * 255).astype(np.float32)


def read_label(path: str | Path) -> np.ndarray:
    """Read a label picture: HxW whole numbers; of a colour, red * 65536 + green * 256 + blue.

    Raises:
        InputError: it cannot be read.
    """
    array = _read(Path(path), colours=False)
    if array.ndim == 3:
        array = array[..., : 3 if array.shape[2] >= 3 else 1]
        if (array == array[..., :1]).all():
            array = array[..., 0]
        else:
            array = array.astype(np.int64) @ np.array([65536, 256, 1])
    if not np.array_equal(array, np.rint(array)):
        raise InputError(f"{path} holds fractions: a label picture has whole numbers")
    return array.astype(np.int64)


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


def picture_size(path: str | Path) -> tuple[int, int]:
    """Return (H, W) of a picture from its header.

    Raises:
        InputError: it is no picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return _read(Path(path), colours=False).shape[:2]


def _read(path: Path, colours: bool) -> np.ndarray:
    """Return HxW or HxWxC in the file's own numbers; of a palette its colours or its places."""
    readers: list[Callable[[Path, bool], np.ndarray]] = [_read_pillow]
    if path.suffix.lower() in (".tif", ".tiff"):
        readers.insert(0 if _is_deep(path) else 1, _read_tiff)
    errors: list[Exception] = []
    for reader in readers:
        try:
            return reader(path, colours)
        except Exception as error:  # what broken files raise is not to be foreseen
            errors.append(error)
    last = (str(errors[0]) or type(errors[0]).__name__).strip().splitlines()[-1]
    if not path.exists():
        raise InputError(f"{path} does not exist: correct the path")
    raise InputError(f"{path} cannot be read as a picture ({last}): replace it") from errors[0]


def _read_pillow(path: Path, colours: bool) -> np.ndarray:
    with Image.open(path) as picture:
        if picture.mode == "P":
            return np.asarray(picture.convert("RGB") if colours else picture)
        if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            return np.asarray(picture.convert("RGB"))
        return np.asarray(picture)


def _is_deep(path: Path) -> bool:
    """Tell whether Pillow would cut off bits or bands of a TIFF."""
    try:
        with Image.open(path) as picture:
            tags: Any = picture
            bits = tags.tag_v2.get(258, (8,))  # BitsPerSample
            return getattr(picture, "n_frames", 1) > 1 or (len(bits) > 1 and max(bits) > 8)
    except Exception:  # the readers tell
        return False


def _read_tiff(path: Path, colours: bool) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = series.asarray()
    if array.ndim == 3 and series.axes.endswith("YX"):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3):
        raise ValueError(f"its axes are {series.axes}")
    return array


def each(function: Callable[[Any], Any], things: Sequence[Any], what: str) -> list[Any]:
    """Return what a function makes of each thing, in threads, with a progress bar."""
    return thread_map(
        function, things, max_workers=min(4, os.cpu_count() or 1), desc=what, leave=False
    )


def pictures_in(folder: str | Path, argument: str) -> dict[str, Path]:
    """Return the pictures of a folder by their names without endings.

    Raises:
        InputError: no folder, no pictures, or two of one name.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{argument}={str(folder)!r} is no folder: name one with pictures")
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"{found[path.stem]} and {path} have one name: keep one")
            found[path.stem] = path
    if not found:
        raise InputError(
            f"{argument}={str(folder)!r} holds no pictures: expected {', '.join(ENDINGS)}"
        )
    return found


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
            return picture_size(item["image"])
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
            "correct one of them (a picture that its EXIF turns must be saved upright)"
        )
    return [{**item, "size": size} for item, size in found]


def split_pictures(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Split items into training and validation, at least one each.

    Raises:
        InputError: the share is not between 0 and 1, or there are fewer than two items.
    """
    if not 0 < share < 1:
        raise InputError(f"train_share must be between 0 and 1, not {share}")
    if len(items) < 2:
        raise InputError(f"{len(items)} pictures with instances: a split needs at least two")
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
