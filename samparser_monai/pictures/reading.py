"""Pictures and label pictures of every kind, as arrays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.errors import InputError
from samparser_monai.pictures.decoding import (
    Header,
    Pixels,
    decode,
    header_of,
    is_whole,
    turned,
)

COLOUR = 1 << 48
"""Labels from here on are colours of 16 bits each, those below are values."""

UNTAGGED = (-9999, -32767, -32768, 65535)
"""What marks pixels without data by custom, where no tag says so; so does what is over 1e30."""


def read_picture(
    path: str | Path, bands: Sequence[int] | None = None, orientation: int | None = None
) -> np.ndarray:
    """Read a picture as HxWx3 float32 from 0 to 255.

    Eight bits are taken as they are; of other numbers the 0.5 and 99.5 percentiles become 0 and
    255. Pixels without data (NaN, infinite, GDAL's tag) become 0 and count for no percentile. One
    band is repeated; an alpha band is dropped.

    Args:
        path: PNG, JPEG, TIFF, ...
        bands: the one or three bands to take, numbered from 1.
        orientation: how it is turned, as EXIF numbers it; that of the file if not given.

    Raises:
        InputError: it cannot be read, or has more bands or pages and ``bands`` does not choose.
    """
    header, pixels = _read(Path(path), colours=True)
    array = turned(pixels.array, header.orientation if orientation is None else orientation)
    count = array.shape[2]
    if bands is not None:
        if len(bands) not in (1, 3) or not all(b in range(1, count + 1) for b in bands):
            raise InputError(
                f"bands={list(bands)} must be one or three numbers from 1 to {count}, the bands of "
                f"{path}"
            )
        array = array[..., [b - 1 for b in bands]]
    elif count > 4 or (count == 2 and not pixels.alpha):
        raise InputError(
            f"{path} has {count} bands: choose three, or one, by --bands '[3,2,1]' say"
        )
    elif pixels.pages > 1:
        raise InputError(
            f"{path} holds {pixels.pages} pages: save each as a file; or, if they are bands of one "
            "picture, choose three, or one, by --bands '[1,2,3]' say"
        )
    else:
        array = array[..., : 3 if count >= 3 else 1]
    return np.repeat(_to_bytes(array, pixels.nodata, path), 3 // array.shape[2], axis=2)


def _to_bytes(array: np.ndarray, nodata: float | None, path: str | Path) -> np.ndarray:
    if array.dtype == np.bool_:
        return array * np.float32(255)
    if array.dtype == np.uint8:
        return array.astype(np.float32)
    if array.dtype.kind not in "uif":
        raise InputError(f"{path} holds pixels of type {array.dtype}: give real numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    held = np.isfinite(array)
    if nodata is not None:
        held &= array != np.float32(nodata)
    values = array[held]
    if not values.size:
        raise InputError(f"{path} holds no data: its pixels are NaN or infinite, or marked so")
    known = values[~np.isin(values, UNTAGGED) & (abs(values) < 1e30)]
    known = known if known.size and known.min() < known.max() else values
    low, high = np.percentile(known, (0.5, 99.5))
    if low == high:
        low, high = known.min(), max(known.max(), known.min() + 1)
    stretched = (np.clip((array - low) / (high - low), 0, 1) * 255).astype(np.float32)
    return np.where(held, stretched, np.float32(0))


def read_label(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label picture: HxW whole numbers, see colour_value for colours.

    What is transparent is 0, where the alpha band tells things apart; of one colour all over, the
    alpha band is the label. What has no data (NaN, GDAL's tag) is -1.

    Args:
        path: of the picture.
        size: (H, W) of what it labels, see orientation_for.

    Raises:
        InputError: it cannot be read, or holds fractions or several pages.
    """
    header, (array, alpha, nodata, pages) = _read(Path(path), colours=False)
    if pages > 1:
        raise InputError(f"{path} holds {pages} pages: save each as a file")
    array = turned(array, orientation_for(header, size))
    if array.dtype.kind == "f":
        blank = ~np.isfinite(array) | (array == nodata)
        whole = np.rint(np.where(blank, -1, array))
        if (abs(whole - array)[~blank] > 1e-3).any():
            raise InputError(f"{path} holds fractions: a label picture has whole numbers")
        array = whole
    array = array.astype(np.int64)
    array = np.where(array == nodata, -1, array) if nodata else array
    if not alpha:
        return _valued(array)
    label, shown = _valued(array[..., :-1]), array[..., -1]
    if shown.min() == shown.max():
        return label
    return shown if label.min() == label.max() else np.where(2 * shown > shown.max(), label, 0)


def _valued(array: np.ndarray) -> np.ndarray:
    """Return HxWxC as one number a pixel."""
    if array.shape[2] < 3:
        return array[..., 0]
    rgb = np.moveaxis(array[..., :3], -1, 0)
    return np.where((rgb == rgb[0]).all(0), rgb[0], colour_value(rgb))


def colour_value(rgb: Sequence[Any] | np.ndarray) -> Any:
    """Return the number that stands for a colour (red, green, blue) which is no grey."""
    return COLOUR + (rgb[0] << 32) + (rgb[1] << 16) + rgb[2]


def colour_of(value: int) -> tuple[int, int, int]:
    """Return red, green and blue of a label, of which those below COLOUR are greys."""
    if value < COLOUR:
        return value, value, value
    return value >> 32 & 65535, value >> 16 & 65535, value & 65535


def read_header(path: str | Path) -> Header:
    """Return the header of a picture whose file is whole.

    Raises:
        InputError: it is no picture, or ends early.
    """

    def whole(path: Path) -> Header:
        header = header_of(path)
        if not is_whole(path):
            raise ValueError("the file ends early")
        return header

    return _told(whole, Path(path))


def orientation_for(header: Header, told: tuple[int, int] | None) -> int:
    """Return how a picture is to be turned.

    One that its EXIF turns is taken upright, as viewers and most tools for drawing show it, unless
    its annotations say ``told`` (H, W), which fits the pixels as they are stored alone.
    """
    return 1 if told == header.size != header.upright else header.orientation


def _read(path: Path, colours: bool) -> tuple[Header, Pixels]:
    return _told(lambda path: (header_of(path), decode(path, colours)), path)


def _told(read: Callable[[Path], Any], path: Path) -> Any:
    """Return what a reader makes of a file; what it cannot read is told in one line."""
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # what broken files raise is not to be foreseen
        if path.is_symlink() and not path.exists():
            raise InputError(f"{path} is a link to a file that does not exist: mend it") from error
        if not path.exists():
            raise InputError(f"{path} does not exist: correct the path") from error
        last = (str(error) or type(error).__name__).strip().splitlines()[-1]
        raise InputError(f"{path} cannot be read as a picture ({last}): replace it") from error
