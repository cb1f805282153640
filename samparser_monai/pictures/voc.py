"""PASCAL VOC 2012: objects and classes as palette pictures, void between them."""

from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.pictures.conventions import listed, values_of_palette
from samparser_monai.pictures.listing import Item, Missing, as_items, each, label_of, opened

VOID = 255
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""By the values of the class pictures, from 1."""


def voc_items(root: str | Path, missing: Missing = "fail", min_area: int = 1) -> dict[str, Any]:
    """List the pictures of ``ImageSets/Segmentation/{train,val}.txt``.

    Args:
        root: the folder of JPEGImages/, or one that has it below as VOC2012/ or
            VOCdevkit/VOC2012/.
        missing: leave out the pictures that cannot be opened, or fail.
        min_area: of an object, in pixels.

    Raises:
        InputError: another layout; label pictures that are missing or of another size.
    """
    at_least(0, min_area=min_area)
    folders = [Path(str(root)) / below for below in ("", "VOC2012", "VOCdevkit/VOC2012")]
    folder = next((f for f in folders if (f / "ImageSets" / "Segmentation").is_dir()), None)
    if folder is None:
        raise InputError(
            f"dataset_dir={str(root)!r} has no ImageSets/Segmentation/ (nor VOC2012/ with it): "
            "expected the layout of VOC2012"
        )
    train, validation = (_part(folder, part, missing, min_area) for part in ("train", "val"))
    return as_items(train, validation, folder)


def _part(folder: Path, part: str, missing: Missing, min_area: int) -> list[Item]:
    listing = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
    if not listing.is_file():
        raise InputError(f"{listing} does not exist: it must list the pictures of the part")
    lines = listing.read_text(errors="replace").splitlines()
    names = dict.fromkeys(line.split()[0] for line in lines if line.strip())
    items = [{"image": str(folder / "JPEGImages" / f"{n}.jpg"), "case": n} for n in names]
    return each(
        lambda item: _annotated(item, folder, min_area),
        opened(items, missing, listing),
        f"masks of {part}",
    )


def _annotated(item: Item, folder: Path, min_area: int) -> Item:
    """Add the objects to a picture, and the void, which is neither object nor background."""
    paths = [folder / f"Segmentation{kind}" / f"{item['case']}.png" for kind in ("Object", "Class")]
    objects, classes = (values_of_palette(label_of(item, path), path) for path in paths)
    strange = np.setdiff1d(classes, [*range(len(CLASSES) + 1), VOID])
    if strange.size:
        raise InputError(
            f"{paths[1]} has the values {listed(strange)}: VOC has {len(CLASSES)} classes, from 1, "
            f"and {VOID}; for others use scenario 'custom' with --mask_kind class"
        )
    annotations = []
    for value in np.unique(objects[(objects > 0) & (objects != VOID)]):
        mask = objects == value
        kind = int(np.bincount(classes[mask], minlength=VOID + 1)[1:VOID].argmax()) + 1
        if mask.sum() >= min_area and (classes[mask] == kind).any():
            annotations.append({"label": CLASSES[kind - 1], "rle": rle_of(mask)})
    return {**item, "annotations": annotations, "ignored": rle_of(objects == VOID)}
