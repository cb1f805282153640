"""Pictures and label pictures of every kind, as arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from samparser_monai.errors import InputError

COLOUR = 1 << 24
"""Labels from here on are colours, those below are values."""

ORIENTATION = 274
"""The EXIF tag that tells how a picture is to be turned; from 5 on height and width change."""

Image.MAX_IMAGE_PIXELS = None  # an aerial picture is large, not an attack


def read_picture(
    path: str | Path, bands: Sequence[int] | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read a picture as HxWx3 float32 from 0 to 255.

    Eight bits are taken as they are; of other numbers the 0.5 and 99.5 percentiles become 0 and
    255. One band is repeated; an alpha band is dropped.

    Args:
        path: PNG, JPEG, TIFF, ...
        bands: the one or three bands to take, numbered from 1.
        size: (H, W) of its annotations, see picture_size.

    Raises:
        InputError: it cannot be read, or has more bands and ``bands`` does not choose.
    """
    array = _read(Path(path), colours=True, size=size)
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
    """Read a label picture: HxW whole numbers, see colour_value for colours.

    Raises:
        InputError: it cannot be read.
    """
    array = _read(Path(path), colours=False)
    if not np.array_equal(array, np.rint(array)):
        raise InputError(f"{path} holds fractions: a label picture has whole numbers")
    array = array.astype(np.int64)
    if array.ndim == 3:
        rgb = np.moveaxis(array, -1, 0)[[0, 1, 2] if array.shape[2] >= 3 else [0, 0, 0]]
        array = np.where((rgb == rgb[0]).all(0), rgb[0], colour_value(rgb))
    return array


def colour_value(rgb: Sequence[Any] | np.ndarray) -> Any:
    """Return the number that stands for a colour (red, green, blue) which is no grey."""
    return COLOUR + (rgb[0] << 16) + (rgb[1] << 8) + rgb[2]


def picture_size(path: str | Path, told: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return (H, W) of a picture from its header.

    A picture that its EXIF turns is taken upright, as viewers and most tools for drawing show it,
    unless its annotations say ``told``, which fits the pixels as they are stored.

    Raises:
        InputError: it is no picture.
    """
    try:
        with Image.open(path) as picture:
            stored = picture.height, picture.width
            upright = stored[::-1] if _orientation(picture) >= 5 else stored
            return stored if told == stored else upright
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return _read(Path(path), colours=False).shape[:2]


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation that Pillow has not applied, from 1 to 8."""
    try:
        found = 1 if picture.format == "TIFF" else picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing
        return 1
    return found if found in range(1, 9) else 1


def _read(path: Path, colours: bool, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return HxW or HxWxC in the file's own numbers; of a palette its colours or its places."""
    readers: list[Callable[..., np.ndarray]] = [_read_pillow]
    if path.suffix.lower() in (".tif", ".tiff"):
        readers.insert(0 if _is_deep(path) else 1, _read_tiff)
    errors: list[Exception] = []
    for reader in readers:
        try:
            return reader(path, colours, size)
        except Exception as error:  # what broken files raise is not to be foreseen
            errors.append(error)
    last = (str(errors[0]) or type(errors[0]).__name__).strip().splitlines()[-1]
    if not path.exists():
        raise InputError(f"{path} does not exist: correct the path")
    raise InputError(f"{path} cannot be read as a picture ({last}): replace it") from errors[0]


def _read_pillow(path: Path, colours: bool, size: tuple[int, int] | None) -> np.ndarray:
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file) if colours and _orientation(file) > 1 else file
        picture = upright if size in (None, (upright.height, upright.width)) else file
        if picture.mode == "P":
            return np.asarray(picture.convert("RGB") if colours else picture)
        if picture.format == "JPEG" and not colours:  # whose noise is no colour
            return np.asarray(picture.convert("L"))
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


def _read_tiff(path: Path, *_: Any) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = series.asarray()
    if array.ndim == 3 and series.axes.endswith("YX"):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3):
        raise ValueError(f"its axes are {series.axes}")
    return array
