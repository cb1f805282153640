"""Radar ships as COCO files: SSDD (PSeg), and HRSID, whose layout differs in names alone."""

from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.pictures.coco import read_coco
from samparser_monai.pictures.finding import json_below
from samparser_monai.pictures.listing import Missing, as_items

HELD_OUT = ("val", "test")


def ssdd_items(
    root: str | Path, missing: Missing = "fail", min_area: int = 1
) -> dict[str, dict[str, Any]]:
    """List the pictures of the two COCO files below ``root``: ``*train*.json`` and ``*val*.json``.

    ``*test*.json`` will do for the latter. Pictures may lie in any folder below ``root``: SSDD has
    ``imgs/``, or ``images/train`` and ``images/test``, HRSID ``JPEGImages/``.

    Raises:
        InputError: not one file of each kind; see read_coco and as_items.
    """
    files = json_below(root)
    held_out = [f for f in files if any(name in _part(f) for name in HELD_OUT)]
    train = [f for f in files if "train" in _part(f) and f not in held_out]
    if len(train) != 1 or len(held_out) != 1:
        raise InputError(
            f"dataset_dir={str(root)!r} holds {len(train)} files *train*.json and "
            f"{len(held_out)} files *val*.json or *test*.json: expected one of each; for others "
            "use scenario 'custom'"
        )
    ships, others = (read_coco(f, root, missing, min_area) for f in (train[0], held_out[0]))
    return as_items(ships, others, root)


def _part(path: Path) -> str:
    return path.stem.lower()
