"""What picture files hold, with all their bits and bands: TIFF, 16-bit PNG, what Pillow reads."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from samparser_monai.errors import InputError

MAX_PIXELS = 1 << 29
"""Of a picture: 23 170 a side. Aerial pictures are large, but a header may claim anything."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own guard: a warning above it, an error at twice

ORIENTATION, NODATA = 274, 42113  # tags: EXIF's, GDAL's
TIFF, PNG, JPEG = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"\x89PNG", b"\xff\xd8"
PILLOWS = ("YCBCR", "CIELAB", "ICCLAB", "ITULAB", "SEPARATED")
BACK = {6: 8, 8: 6}
"""The turns that undo a turn; the others undo themselves."""


class Header(NamedTuple):
    """Height and width as they are stored, and the orientation that EXIF gives them, 1 to 8."""

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width as viewers show the picture."""
        return self.size[::-1] if self.orientation >= 5 else self.size


class Pixels(NamedTuple):
    """HxWxC as stored in the file, whether the last band is alpha, and what marks no data.

    The bands are ``pages`` where there are several and nothing in the file calls them bands.
    """

    array: np.ndarray
    alpha: bool = False
    nodata: float | None = None
    pages: int = 1


def header_of(path: Path) -> Header:
    """Read a picture's header.

    Raises:
        InputError: more than MAX_PIXELS, or several pages that cannot be bands of one picture.
        Exception: whatever a broken file makes its reader raise.
    """
    if _start(path).startswith(TIFF):
        with tifffile.TiffFile(path) as file:
            page, pages = file.pages.first, _pages(file.series[0])
            others = sum(_pages(one) for one in file.series[1:] if _is_full(one.keyframe, page))
            bands = (
                len(file.series[0].shape) == 3 and page.photometric != tifffile.PHOTOMETRIC.PALETTE
            )
            if others or (pages > 1 and not bands):
                raise InputError(f"{path} holds {pages + others} pages: save each as a file")
            tag = page.tags.get(ORIENTATION)
            header = Header((page.imagelength, page.imagewidth), _known(tag.value if tag else 1))
    else:
        with Image.open(path) as picture:
            header = Header((picture.height, picture.width), _exif(picture))
    if header.size[0] * header.size[1] > MAX_PIXELS:
        raise InputError(
            f"{path} has {header.size[1]}x{header.size[0]} px, more than {MAX_PIXELS} in all: cut "
            "it into parts"
        )
    return header


def _pages(series: tifffile.TiffPageSeries) -> int:
    """Return the pages of a series: slices, times, whatever is called neither colour nor band."""
    sides = zip(series.axes, series.shape, strict=True)
    return math.prod(side for axis, side in sides if axis not in "YXSC")


def _is_full(page: tifffile.TiffPage, first: tifffile.TiffPage) -> bool:
    """Tell whether a page is a picture of its own: no mask, pyramid level or thumbnail."""
    marked = page.subfiletype & (tifffile.FILETYPE.REDUCEDIMAGE | tifffile.FILETYPE.MASK)
    half = (first.imagelength + 1) // 2, (first.imagewidth + 1) // 2
    return not marked and (page.imagelength > half[0] or page.imagewidth > half[1])


def _exif(picture: Image.Image) -> int:
    try:
        return _known(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing
        return 1


def _known(orientation: object) -> int:
    return int(orientation) if orientation in range(1, 9) else 1  # type: ignore[call-overload]


def is_whole(path: Path) -> bool:
    """Tell whether a file ends as its format ends; the pixels are decoded only in doubt."""
    start, size = _start(path), path.stat().st_size
    if start.startswith(TIFF):
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            parts = zip(page.dataoffsets, page.databytecounts, strict=True)
            return all(offset + count <= size for offset, count in parts)
    with path.open("rb") as file:
        file.seek(max(size - 4096, 0))
        end = file.read()
    if (start.startswith(PNG) and b"IEND" in end) or (
        start.startswith(JPEG) and b"\xff\xd9" in end
    ):
        return True
    with Image.open(path) as picture:
        picture.load()
    return True


def decode(path: Path, colours: bool) -> Pixels:
    """Read a picture with all its bits and bands, as stored.

    Args:
        path: of the file.
        colours: of a palette take the colours; else their places, unless they are in no order.

    Raises:
        InputError: see header_of.
        Exception: whatever a broken file makes its reader raise.
    """
    header_of(path)
    start = _start(path)
    if start.startswith(TIFF):
        return _decode_tiff(path, colours)
    if start.startswith(PNG) and start[24] == 16:  # bits; Pillow would cut off eight of a colour's
        import imagecodecs  # not on the label server, which reads no pictures

        array = imagecodecs.png_decode(path.read_bytes())
        return Pixels(_deep(array), array.ndim == 3 and array.shape[2] in (2, 4))
    with Image.open(path) as picture:
        return _decode_pillow(picture, colours)


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels HxWx... as an EXIF orientation tells."""
    array = array.swapaxes(0, 1) if orientation >= 5 else array
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]


def _start(path: Path) -> bytes:
    """Return the bytes that tell the format, and of a PNG file its bits."""
    with path.open("rb") as file:
        return file.read(26)


def _deep(array: np.ndarray) -> np.ndarray:
    return array[..., None] if array.ndim == 2 else array


def _decode_tiff(path: Path, colours: bool) -> Pixels:
    with tifffile.TiffFile(path) as file:
        series, page = file.series[0], file.pages.first
        photometric = getattr(page.photometric, "name", "")
        if photometric in PILLOWS and page.bitspersample == 8 and page.compression != 7:
            # by its path Pillow would map it into memory, where turned sides are mistaken
            with path.open("rb") as opened, Image.open(opened) as picture:
                orientation = _exif(picture)
                pixels = _decode_pillow(picture, colours)
            # Pillow turns the TIFF files that it loads, and no others
            return pixels._replace(array=turned(pixels.array, BACK.get(orientation, orientation)))
        array = series.asarray()
        if array.ndim == 3 and not series.axes.startswith("YX"):
            array = np.moveaxis(array, 0, -1)
        if array.ndim not in (2, 3):
            raise ValueError(f"its axes are {series.axes}: a picture has rows, columns and bands")
        if photometric == "PALETTE":
            palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
            array = _looked_up(array, palette, colours)
        elif photometric == "MINISWHITE" and array.dtype in (np.bool_, np.uint8):
            array = ~array
        extra = [int(sample) for sample in page.extrasamples]
        alpha = bool(extra) and extra[-1] in (1, 2)
        return Pixels(_deep(array), alpha, _nodata(page), _pages(series))


def _nodata(page: tifffile.TiffPage) -> float | None:
    tag = page.tags.get(NODATA)
    try:
        return float(str(tag.value).strip("\0 ")) if tag else None
    except ValueError:
        return None


def _decode_pillow(picture: Image.Image, colours: bool) -> Pixels:
    if picture.mode == "P":
        palette = np.asarray(picture.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        return Pixels(_deep(_looked_up(np.asarray(picture), palette, colours)))
    if picture.format == "JPEG" and not colours:  # whose noise is no colour
        return Pixels(_deep(np.asarray(picture.convert("L"))))
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return Pixels(np.asarray(picture.convert("RGB")))
    made = picture.convert("RGBA") if picture.mode in ("PA", "La", "RGBa") else picture
    return Pixels(_deep(np.asarray(made)), made.mode in ("LA", "RGBA"))


def _looked_up(places: np.ndarray, palette: np.ndarray, colours: bool) -> np.ndarray:
    """Return the colours of a palette, or the places where they number something.

    A label's palette begins with black. Tools that make files small put the colours into any
    order: then the colours are the label.
    """
    used = np.unique(places)
    palette = np.pad(palette, ((0, max(int(used[-1]) + 1 - len(palette), 0)), (0, 0)))
    shuffled = palette[0].any() and not palette[used[used > 0]].any(1).all()
    return palette[places] if colours or shuffled else places
