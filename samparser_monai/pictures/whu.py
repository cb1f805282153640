"""WHU buildings: aerial tiles whose label pictures show buildings in white."""

from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.errors import InputError
from samparser_monai.geometry.run_lengths import components
from samparser_monai.pictures.conventions import objects_of
from samparser_monai.pictures.folders import masked_items
from samparser_monai.pictures.listing import Item, Missing, as_items

FOLDERS = ("image", "label")


def whu_items(
    root: str | Path, held_out: str = "val", missing: Missing = "fail", min_area: int = 50
) -> dict[str, Any]:
    """List ``{train,val,test}/image`` with ``.../label``; each connected component is a building.

    Args:
        root: the folder of the parts.
        held_out: the part to validate on, ``val`` or ``test``.
        missing: leave out tiles that cannot be opened or have no label, or fail.
        min_area: of a building, in pixels.

    Raises:
        InputError: another layout; see masked_items and as_items.
    """
    for folder in (
        Path(str(root)) / part / kind for part in ("train", held_out) for kind in FOLDERS
    ):
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist: expected the layout of the WHU buildings")

    def buildings(label: np.ndarray, path: Path) -> Item:
        rles = components(objects_of(label, path), min_area)
        return {"annotations": [{"label": "building", "rle": rle} for rle in rles]}

    train, validation = (
        masked_items(
            Path(str(root)) / part / "image", Path(str(root)) / part / "label", buildings, missing
        )
        for part in ("train", held_out)
    )
    return as_items(train, validation, root)
