"""Every bit and band of a picture, and what of it is data."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from layouts import SIZE, save, scene
from PIL import Image, ImageCms

from samparser_monai.errors import InputError
from samparser_monai.pictures import decoding
from samparser_monai.pictures.reading import (
    colour_value,
    read_header,
    read_label,
    read_picture,
    turned,
)

PICTURE = scene(0)[0]
# 12 bits in 16: half of what they say lies in the lower byte
DEEP = PICTURE.astype(np.uint16) * 12 + 7
OPAQUE = np.full((*SIZE, 1), 65535, np.uint16)


def png(array: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.png").write_bytes(imagecodecs.png_encode(array))
        return folder / "a.png"

    return write


def tiff(array: np.ndarray, nodata: str = "", **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tags = [(42113, "s", len(nodata) + 1, nodata, True)] if nodata else []
        tifffile.imwrite(folder / "a.tif", array, extratags=tags, **options)
        return folder / "a.tif"

    return write


RGB = {"photometric": "rgb"}


@pytest.mark.parametrize(
    "write",
    [
        png(DEEP),
        png(np.dstack([DEEP, OPAQUE])),
        tiff(DEEP, **RGB, compression="lzw"),
        tiff(DEEP, **RGB, compression="zlib", predictor=2),
        tiff(DEEP, **RGB, compression="zstd"),
        tiff(DEEP.transpose(2, 0, 1), **RGB, planarconfig="separate", compression="lzw"),
    ],
)
def test_sixteen_bits_are_all_read(write: Callable, tmp_path: Path) -> None:
    found = read_picture(write(tmp_path))
    wanted = read_picture(tiff(DEEP, **RGB)(tmp_path))
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(found)) > 100  # of eight bits there would be twelve


def test_sixteen_bits_of_grey_with_alpha_are_all_read(tmp_path: Path) -> None:
    grey = DEEP[..., :1]
    found = read_picture(png(np.dstack([grey, OPAQUE]))(tmp_path))
    np.testing.assert_array_equal(found, read_picture(tiff(grey[..., 0])(tmp_path)))


def blank(array: np.ndarray, value: float) -> np.ndarray:
    """Return the array with a tenth of its pixels without data."""
    array = array.copy()
    array[:5] = value
    return array


FLOAT = PICTURE.astype(np.float32) / 700


@pytest.mark.parametrize(
    ("array", "value", "nodata"),
    [
        (FLOAT, -9999, "-9999"),
        (FLOAT, -9999, ""),
        (FLOAT, np.nan, ""),
        (FLOAT, np.inf, ""),
        (FLOAT, -3.4028234663852886e38, "-3.4028234663852886e+38"),
        (FLOAT, -3.4028234663852886e38, ""),
        (DEEP, 65535, "65535 "),
        (DEEP, 65535, ""),
        (DEEP, 0, "0"),
        (DEEP.astype(np.int16), -32768, ""),
    ],
)
def test_pixels_without_data_count_for_no_percentile(
    array: np.ndarray, value: float, nodata: str, tmp_path: Path
) -> None:
    found = read_picture(tiff(blank(array, value), nodata, **RGB)(tmp_path))
    wanted = read_picture(tiff(array[5:], **RGB)(tmp_path))
    np.testing.assert_array_equal(found[5:], wanted)
    if nodata:
        assert not found[:5].any()


FOUR = np.dstack([PICTURE, PICTURE[..., 0] // 2])
FIVE = np.dstack([FOUR, PICTURE[..., 1] // 3])


@pytest.mark.parametrize(
    ("array", "extra", "bands", "wanted"),
    [
        (FOUR, ["unspecified"], [4, 1, 2], FOUR[..., [3, 0, 1]]),
        (FOUR, ["assocalpha"], None, PICTURE),
        (FIVE, ["unspecified"] * 2, [5, 2, 1], FIVE[..., [4, 1, 0]]),
        (FIVE, ["unspecified", "unassalpha"], [4], FIVE[..., [3, 3, 3]]),
    ],
)
def test_bands_of_eight_bits_are_as_stored(
    array: np.ndarray, extra: list, bands: list | None, wanted: np.ndarray, tmp_path: Path
) -> None:
    path = tiff(array, **RGB, extrasamples=extra)(tmp_path)
    np.testing.assert_array_equal(read_picture(path, bands), wanted)


def test_two_bands_without_alpha_must_be_chosen(tmp_path: Path) -> None:
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    path = tiff(FOUR[..., :2], **options, extrasamples=["unspecified"])(tmp_path)
    with pytest.raises(InputError, match="has 2 bands: choose"):
        read_picture(path)
    np.testing.assert_array_equal(read_picture(path, [2])[..., 0], PICTURE[..., 1])


def pages(*arrays: np.ndarray, **options: object) -> Callable[[Path], Path]:
    """Return what writes a page to each array, some of them smaller copies."""

    def write(folder: Path) -> Path:
        with tifffile.TiffWriter(folder / "a.tif") as file:
            for array in arrays:
                file.write(array, photometric=GREY if array.ndim == 2 else "rgb", **options)
        return folder / "a.tif"

    return write


GREY = "minisblack"
SLICES = PICTURE.transpose(2, 0, 1)
PLAIN = {"metadata": None}
APART = {"contiguous": False}


@pytest.mark.parametrize("read", [read_picture, read_label])
@pytest.mark.parametrize(
    ("write", "count"),
    [
        (pages(*SLICES, **PLAIN), 3),
        (pages(*SLICES, **APART), 3),
        (pages(*SLICES, SLICES[0][:, :60], **PLAIN), 4),
        (pages(PICTURE, PICTURE[:40], **PLAIN), 2),
        (pages(PICTURE, PICTURE, **PLAIN), 2),
        (tiff(SLICES, photometric=GREY), 3),
        (tiff(SLICES, photometric=GREY, imagej=True, metadata={"axes": "ZYX"}), 3),
    ],
)
def test_pages_are_no_colours(write: Callable, count: int, read: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"a.tif holds {count} pages: save each as a file"):
        read(write(tmp_path))


@pytest.mark.parametrize("write", [pages(*SLICES, **APART), pages(PICTURE, PICTURE, **PLAIN)])
def test_pages_that_are_no_bands_are_told_from_the_header(write: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pages: save each as a file"):
        read_header(write(tmp_path))


@pytest.mark.parametrize(
    "write",
    [
        pages(PICTURE, PICTURE[::2, ::2], **PLAIN),  # a thumbnail
        pages(PICTURE, PICTURE[::3, ::3], subfiletype=1, **APART),
        tiff(SLICES, photometric=GREY, planarconfig="separate"),
        tiff(SLICES, photometric=GREY, metadata={"axes": "CYX"}),
        tiff(SLICES, photometric=GREY, ome=True, metadata={"axes": "CYX"}),
    ],
)
def test_bands_and_thumbnails_are_no_pages(write: Callable, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_picture(write(tmp_path)), PICTURE)


def test_pages_that_are_chosen_are_bands(tmp_path: Path) -> None:
    path = pages(*SLICES, **PLAIN)(tmp_path)
    np.testing.assert_array_equal(read_picture(path, [3, 2, 1]), PICTURE[..., ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_every_format_alike(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / "a.png", PICTURE, exif=exif)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", PICTURE, **RGB, extratags=tags)
    with Image.open(tmp_path / "a.png") as picture:
        wanted = np.asarray(picture.convert("RGB").transpose(Image.Transpose.ROTATE_90))
        wanted = np.rot90(wanted, -1) if orientation == 1 else None
    for name in ("a.png", "a.tif"):
        found = read_picture(tmp_path / name)
        np.testing.assert_array_equal(found, turned(PICTURE, orientation))
        assert read_header(tmp_path / name).upright == found.shape[:2]
        assert wanted is None or np.array_equal(found, wanted)
        np.testing.assert_array_equal(read_picture(tmp_path / name, orientation=1), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_that_pillow_decodes_is_turned_once(
    mode: str, compression: str | None, orientation: int, tmp_path: Path
) -> None:
    picture = Image.fromarray(PICTURE)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    else:
        picture = picture.convert(mode)
    for name, number in (("stored.tif", 1), ("a.tif", orientation)):
        picture.save(tmp_path / name, tiffinfo={274: number}, compression=compression)
    stored = read_picture(tmp_path / "stored.tif")
    assert stored.shape == PICTURE.shape
    found = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, turned(stored, orientation))
    assert read_header(tmp_path / "a.tif").upright == found.shape[:2]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif", orientation=1), stored)


def test_turns_are_those_of_pillow() -> None:
    from PIL import ImageOps

    for orientation in range(1, 9):
        picture = Image.fromarray(PICTURE)
        picture.getexif()[274] = orientation
        np.testing.assert_array_equal(
            turned(PICTURE, orientation), np.asarray(ImageOps.exif_transpose(picture))
        )


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp", "a.webp"])
def test_file_that_ends_early_is_told_from_its_header(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, PICTURE)
    assert read_header(path).size == SIZE
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_header(path)


def test_links_and_sizes_that_cannot_be_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a link to a file that does not exist"):
        read_header(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 3000)
    for path in (save(tmp_path / "b.png", PICTURE), tiff(PICTURE, **RGB)(tmp_path)):
        for read in (read_header, read_picture, read_label):
            with pytest.raises(InputError, match="has 64x48 px, more than 3000 in all"):
                read(path)


IDS = np.zeros(SIZE, np.int64)
IDS[5:20, 5:20], IDS[25:40, 30:50] = 1, 2
WHITE = np.full(SIZE, 255)


@pytest.mark.parametrize(
    ("write", "wanted"),
    [
        (png((IDS * 300).astype(np.uint16)), IDS * 300),
        (png(np.dstack([IDS * 300] * 3).astype(np.uint16)), IDS * 300),
        (png(np.dstack([IDS * 300, WHITE * 257]).astype(np.uint16)), IDS * 300),
        (
            png(np.dstack([IDS * 300, IDS * 0, IDS]).astype(np.uint16)),
            np.where(IDS > 0, colour_value((IDS * 300, IDS * 0, IDS)), 0),
        ),
        (png(np.dstack([WHITE, IDS * 100]).astype(np.uint8)), IDS * 100),
        (png(np.dstack([WHITE] * 3 + [255 * (IDS > 0)]).astype(np.uint8)), 255 * (IDS > 0)),
        (png(np.dstack([IDS + 5, 255 * (IDS > 0)]).astype(np.uint8)), np.where(IDS, IDS + 5, 0)),
        (tiff(IDS.astype(np.float32) + 1e-4), IDS),
        (tiff(np.where(IDS, IDS, np.nan).astype(np.float32)), np.where(IDS, IDS, -1)),
        (tiff(np.where(IDS, IDS, 9).astype(np.uint8), nodata="9"), np.where(IDS, IDS, -1)),
        (tiff((IDS == 0).astype(np.uint8) * 255, photometric="miniswhite"), 255 * (IDS > 0)),
    ],
)
def test_labels_are_the_numbers_that_were_drawn(
    write: Callable, wanted: np.ndarray, tmp_path: Path
) -> None:
    np.testing.assert_array_equal(read_label(write(tmp_path)), wanted)


def test_palette_in_no_order_is_its_colours(tmp_path: Path) -> None:
    """Tools that make files small number colours anew: white first, say."""
    made = Image.fromarray((IDS == 0).astype(np.uint8))
    made.putpalette([255, 255, 255, 0, 0, 0])
    made.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), 255 * (IDS > 0))
