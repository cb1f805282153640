"""Masks of instances as COCO's run lengths: what polygons, label pictures and RLE come down to."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco
from scipy import ndimage

from samparser_monai.errors import InputError, at_least

Rle = dict[str, Any]
"""Run lengths along the columns: ``size`` [H, W] and ``counts``, compressed."""


def rle_of(mask: np.ndarray) -> Rle:
    """Return the run lengths of a mask (HxW); without a copy where its columns are contiguous."""
    mask = mask.view(np.uint8) if mask.dtype == bool and mask.flags.f_contiguous else mask
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))


def components(mask: np.ndarray, min_area: int = 1) -> list[Rle]:
    """Return the connected components (8 neighbours) of a mask of at least ``min_area`` pixels."""
    at_least(0, min_area=min_area)
    parts, count = ndimage.label(mask.T, structure=np.ones((3, 3)))  # run lengths go by columns
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    return [rle_of((parts == n).T) for n in range(1, count + 1) if areas[n] >= min_area]


def boxes_of_rles(rles: Sequence[Rle]) -> np.ndarray:
    """Return the tight XYXY boxes (Nx4, float32, corners included) of non-empty masks."""
    x, y, width, height = np.asarray(coco.toBbox(list(rles)), dtype=np.float32).T
    return np.stack([x, y, x + width - 1, y + height - 1], axis=1)


def masks_of(item: Mapping[Hashable, Any]) -> np.ndarray:
    """Return the masks of an item's ``annotations``, and of what is ``ignored``, as NxHxW."""
    rles = [annotation["rle"] for annotation in item["annotations"]]
    rles += [item["ignored"]] if "ignored" in item else []
    return np.moveaxis(coco.decode(rles), -1, 0)


def remasked(item: Mapping[Hashable, Any], masks: np.ndarray) -> dict[Hashable, Any]:
    """Return the item whose ``annotations`` and ``ignored`` have become these masks (NxHxW).

    Instances that are not in sight any more are left out.
    """
    rles = [rle_of(mask) for mask in masks]
    ignored: dict[Hashable, Any] = {"ignored": rles.pop()} if "ignored" in item else {}
    pairs = zip(item["annotations"], rles, strict=True)
    kept = [{**annotation, "rle": rle} for annotation, rle in pairs if coco.area(rle)]
    return {**item, **ignored, "annotations": kept}


def rle_of_segmentation(segmentation: Any, size: tuple[int, int]) -> Rle:
    """Return the run lengths of a COCO annotation's polygons or RLE in a picture (H, W).

    A polygon is x, y, x, y, ..., or pairs of x, y. Beside whole polygons, those of under three
    points, which tools leave behind, have no area and are passed over.

    Raises:
        InputError: it is none, or lies outside the picture; the message is a fragment.
    """
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise InputError("no polygons or RLE under 'segmentation': a box alone is no mask")
    one = not isinstance(segmentation[0], list)
    polygons = [_numbers(polygon) for polygon in ([segmentation] if one else segmentation)]
    whole = [polygon for polygon in polygons if len(polygon) >= 6]
    for polygon in whole or polygons[:1]:
        _check_polygon(polygon, size)
    return coco.merge(coco.frPyObjects(whole, *size))


def slivers(segmentation: Any) -> int:
    """Return how many polygons rle_of_segmentation passes over."""
    parts = segmentation if isinstance(segmentation, list) else []
    return sum(isinstance(part, list) and len(np.ravel(part)) < 6 for part in parts)


def _numbers(polygon: Any) -> list[float]:
    told = f"a polygon that is no list of numbers: {str(polygon)[:40]}"
    try:
        points = np.asarray(polygon, dtype=float)  # of text, too
    except (TypeError, ValueError) as error:
        raise InputError(told) from error
    if points.ndim == 1 or (points.ndim == 2 and points.shape[1] == 2):
        return points.ravel().tolist()
    raise InputError(told)


def _check_polygon(polygon: list[float], size: tuple[int, int]) -> None:
    if len(polygon) < 6 or len(polygon) % 2:
        raise InputError(f"a polygon of {len(polygon)} numbers: it needs an x and y for 3 points")
    points = np.asarray(polygon).reshape(-1, 2)
    limit = np.array(size[::-1])
    # pycocotools walks along each side pixel by pixel, however far away it ends
    if not np.isfinite(points).all() or (abs(points - limit / 2) > 1.5 * limit).any():
        raise InputError(f"a polygon far outside the picture of {size[1]}x{size[0]} px")
    if min(size) > 2 and points.min() >= 0 and points.max() <= 1:
        raise InputError("a polygon of numbers from 0 to 1: they must be pixels")


def _checked_rle(rle: Rle, size: tuple[int, int]) -> Rle:
    counts = rle.get("counts")
    if rle.get("size") != list(size):
        raise InputError(f"an RLE of size {rle.get('size')} in a picture of {list(size)}")
    try:
        lengths = counts if isinstance(counts, list) else list(_lengths(counts))
        # pycocotools trusts them: what they leave out is read from anywhere in memory
        if min(lengths) < 0 or sum(lengths) != size[0] * size[1]:
            raise ValueError
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError("an RLE whose counts do not add up to the picture's pixels") from error
    if isinstance(counts, list):
        return coco.frPyObjects({"size": list(size), "counts": counts}, *size)
    return {"size": list(size), "counts": counts.encode() if isinstance(counts, str) else counts}


def _lengths(counts: Any) -> Iterator[int]:
    """Yield the run lengths of compressed counts: 5 bits a byte, differences from the third on."""
    text = iter(counts.encode() if isinstance(counts, str) else counts)
    before: list[int] = []
    for byte in text:
        value, shift = (byte - 48) & 31, 5
        while (byte - 48) & 32:
            byte = next(text, 48)
            value |= ((byte - 48) & 31) << shift
            shift += 5
        if (byte - 48) & 16:
            value -= 1 << shift
        if len(before) > 2:
            value += before[-2]
        before.append(value)
        yield value
