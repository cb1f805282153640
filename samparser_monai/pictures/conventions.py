"""What the values of label pictures mean, by custom: void, background, blurred edges."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from scipy import ndimage

from samparser_monai.errors import InputError
from samparser_monai.pictures.reading import COLOUR, colour_of, colour_value

BLURRED = "its edges are blurred (by JPEG, or because it was resized)"


def _palette() -> dict[tuple[int, int, int], int]:
    """Return VOC's palette, which spreads the bits of a value over those of a colour."""
    places = np.arange(256)
    colours = np.zeros((256, 3), dtype=int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (places >> (3 * bit + channel) & 1) << (7 - bit)
    return {(int(r), int(g), int(b)): n for n, (r, g, b) in enumerate(colours)}


VOC_PALETTE = _palette()
VOC_VOID = colour_value((224, 224, 192))
VOIDS = (255, 65535, 2**32 - 1, VOC_VOID)
"""The last value of each type of pixel, and that of VOC's palette."""


def values_of_palette(label: np.ndarray, path: Path) -> np.ndarray:
    """Return a label in VOC's colours as the values that they stand for; others as they are.

    Raises:
        InputError: colours that are not in the palette.
    """
    values = np.unique(label)
    if values[-1] < COLOUR:
        return label
    colours = [colour_of(int(value)) for value in values]
    if strange := [colour for colour in colours if colour not in VOC_PALETTE]:
        raise InputError(
            f"{path} has {len(strange)} colours that are not in VOC's palette, the first is "
            f"{strange[0]}: save the values themselves"
        )
    places = np.array([VOC_PALETTE[colour] for colour in colours])
    return places[np.searchsorted(values, label)]


def void_of(label: np.ndarray, path: Path, named: Collection[int] = ()) -> np.ndarray:
    """Return the mask (HxW) of what is neither object nor background.

    It is -1 beside 0; and the last value of a type (255, 65535, ...), or VOC's colour for it, with
    lower values that go no further than half of it, unless it is named.

    Raises:
        InputError: other negative values.
    """
    values = np.unique(label)
    if values[0] < -1:
        raise InputError(f"{path} has the values {listed(values)}: below 0 is -1 alone known")
    void = (label == -1) & bool((values == 0).any())
    for value in set(VOIDS) - set(named):
        others = values[(values > 0) & (values != value)]
        if value == VOC_VOID:
            others = others[others >= COLOUR]
        if others.size and (value == VOC_VOID or others[-1] <= value // 2):
            void |= label == value
    return void


def objects_of(label: np.ndarray, path: Path) -> np.ndarray:
    """Return the mask (HxW) of the objects of a label that tells no more than where they are.

    Of values that blurred edges or JPEG have spread, it is what is over half the largest.

    Raises:
        InputError: values of which some may be edges, or void, and some objects.
    """
    values, counts = np.unique(label[label > 0], return_counts=True)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    if is_blurred(label) or (jpeg and values.size and values[-1] >= 128):
        return label * 2 > values[-1]
    small = values.size < 2 or (values[-1] < 128 or (values[-1] > 255 and counts.size < 1000))
    if (jpeg and values.size) or not small:
        raise InputError(
            f"{path} has the values {listed(values)}: which are objects, and which void or blurred "
            "edges? Save it as PNG with two values, or tell by --mask_kind class or instance"
        )
    return label > 0


def is_blurred(label: np.ndarray) -> bool:
    """Tell whether the values of a label are two, spread: between them lie thin edges alone."""
    top = int(label.max(initial=0))
    if not 128 <= top <= 255 or np.unique(label[2 * label > top]).size < 2:
        return False
    between = (4 * label > top) & (4 * label < 3 * top)
    even = ndimage.maximum_filter(label, 3) == ndimage.minimum_filter(label, 3)
    objects = (2 * label > top).sum()
    return bool(between.sum() <= 0.7 * objects and (between & even).sum() <= 0.02 * objects)


def check_sharp(label: np.ndarray, path: Path) -> None:
    """Raise an InputError where values cannot be those of classes or instances."""
    values, counts = np.unique(label[label > 0], return_counts=True)
    if is_jpeg(path):
        raise InputError(f"{path}: JPEG blurs the values of classes and instances: save it as PNG")
    if is_blurred(label) or _is_scattered(values, counts):
        raise InputError(
            f"{path} has the values {listed(values)}: {BLURRED}; where it shows objects and "
            "background alone, add --mask_kind binary"
        )


def is_jpeg(path: Path) -> bool:
    """Tell whether a file is a JPEG by its name."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def _is_scattered(values: np.ndarray, counts: np.ndarray) -> bool:
    """Tell whether there are many values of a few pixels each, as along blurred edges."""
    return values.size > 32 and bool(np.median(counts) < 10)


def listed(values: np.ndarray) -> str:
    """Return some values as text, colours as (red, green, blue)."""
    first = [str(v if v < COLOUR else colour_of(v)) for v in map(int, values[:5])]
    return ", ".join(first) + (f", ... ({len(values)} in all)" if len(values) > 5 else "")
