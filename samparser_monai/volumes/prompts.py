"""Prompts that people write, checked before any work: JSON or CSV.

The format is in docs/how_to/prompts.md.
"""

import codecs
import csv
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import read_json

FRAMES = ("voxel", "RAS", "LPS")
KINDS = ("box", "points", "mask")
KEYS = ("label", *KINDS, "slice", "point_labels", "frame", "fixed", "locked")
COLUMNS = ("case", "label", "frame", "i0", "j0", "k0", "i1", "j1", "k1", "foreground")


def read_prompts(path: str | Path) -> dict[str, list[Any]]:
    """Read prompts by case from a JSON or CSV file.

    Raises:
        InputError: the file cannot be read. Whether the prompts can be used, check_prompts tells.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".json", ".csv"):
        raise InputError(
            f"prompts={str(path)!r} must be a .json or a .csv file, or a folder of coarse label "
            "volumes named as the cases"
        )
    if ending == ".json":
        return _from_json(path)
    try:
        raw = path.read_bytes()
        utf_16 = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        text = raw.decode("utf-16" if utf_16 else "utf-8-sig")  # as spreadsheets write it
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"prompts={str(path)!r} cannot be read ({error}): correct the path, or save it as UTF-8"
        ) from error
    return _from_csv(text, path)


def asks_by_name(prompt: Mapping[str, Any]) -> bool:
    """Tell whether a prompt asks for its organ by name alone."""
    return not any(kind in prompt for kind in KINDS)


def refines(prompt: Mapping[str, Any]) -> bool:
    """Tell whether a prompt goes on from its mask; without anything beside it, it is coarse."""
    return "mask" in prompt and any(key in prompt for key in ("box", "points", "fixed", "locked"))


def check_prompts(
    prompts: Any, where: str, labels: Mapping[str, Any], names: Sequence[str] = ()
) -> None:
    """Raise an InputError unless the prompts of a case, which ``where`` names, can be used.

    Args:
        prompts: of the case.
        where: for the error.
        labels: the organs that they may name.
        names: those that the network knows by name, without a box.
    """
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        raise InputError(f"{where} must be a list of prompts, not {prompts!r}")
    if not prompts:
        raise InputError(f"{where} has no prompt: add a box, points or a mask, or take it out")
    for number, prompt in enumerate(prompts):
        _check(prompt, f"prompt {number} of {where}", labels, names)
    drafts = [prompt["label"] for prompt in prompts if refines(prompt)]
    if twice := [label for label in drafts if drafts.count(label) > 1]:
        raise InputError(
            f"{where} has two masks that {twice[0]!r} goes on from: put all points beside one"
        )


def _from_json(path: Path) -> dict[str, list[Any]]:
    try:
        found = read_json(path, _once)
    except InputError as error:
        raise InputError(f"prompts={str(path)!r}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise InputError(f"prompts={str(path)!r} must hold a list of prompts to each case's name")
    for prompt in (prompt for prompts in found.values() for prompt in prompts):
        if isinstance(prompt, dict) and isinstance(prompt.get("mask"), str):
            prompt["mask"] = os.path.join(path.parent, prompt["mask"])
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, of which JSON itself would keep the last of two like names."""
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{twice[0]!r} stands there twice: put all of it into one list")
    return dict(pairs)


def _from_csv(text: str, path: Path) -> dict[str, list[Any]]:
    """Read a row to a box, or to a point: the row of a point has no second corner."""
    rows = csv.DictReader(text.splitlines())
    if missing := [c for c in COLUMNS[:9] if c not in (rows.fieldnames or ())]:
        raise InputError(
            f"prompts={str(path)!r} has no column {missing[0]!r}: its first line must be "
            + ",".join(COLUMNS)
        )
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        number = rows.line_num
        case, label, frame, *values, kind = [(row.get(c) or "").strip() for c in COLUMNS]
        if None in row:
            raise InputError(
                f"{path}, line {number} has more cells than the first line, {row[None]!r}: are "
                "there decimal commas? Write 10.5, and names with a comma in quotes"
            )
        try:
            corners = [float(v) for v in values if v]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; give numbers") from error
        if not case or not label or kind not in ("", "0", "1"):
            raise InputError(
                f"{path}, line {number}: it needs a case, a label, and a foreground of 1, 0 or none"
            )
        if len(corners) == 6 and kind:
            raise InputError(
                f"{path}, line {number}: foreground={kind!r} belongs to a point, not to a box: "
                "leave it empty (are there decimal commas? Write 10.5)"
            )
        if len(corners) == 6 and frame in FRAMES[1:] and None in row.values():
            # a point in mm with decimal commas, 10,5,20,5,30,0, has as many cells
            raise InputError(
                f"{path}, line {number} has fewer cells than the first line: end a box with a "
                "comma for each empty cell; are there decimal commas? Write 10.5"
            )
        known: dict[str, Any] = {"label": label, "frame": frame or "voxel"}
        if len(corners) == 3 and all(values[:3]):
            known |= {"points": [corners], "point_labels": [int(kind != "0")]}
        elif not corners and not frame and not kind:
            known = {"label": label}
        else:
            known["box"] = corners
        found[case].append(known)
    return dict(found)


def _check(prompt: Any, where: str, labels: Mapping[str, Any], names: Sequence[str]) -> None:
    if not isinstance(prompt, Mapping):
        raise InputError(f"{where} is {prompt!r}: it must be an object with 'box', say")
    for key in prompt:
        if key not in KEYS:
            raise unknown(f"key in {where}:", key, KEYS)
    kinds = [kind for kind in KINDS if kind in prompt]
    if set(prompt) == {"label"}:
        return _check_name(prompt["label"], where, labels, names)
    if len(kinds) != 1 and "mask" not in kinds:
        raise InputError(
            f"{where} needs either 'box', 'points' or 'mask', not {sorted(prompt)}: "
            "several prompts of an organ stand beside each other in the list"
        )
    if "label" in prompt and prompt["label"] not in list(labels):
        raise unknown(f"label in {where}:", prompt["label"], labels)
    if prompt.get("frame", "voxel") not in FRAMES:
        raise unknown(f"frame in {where}:", prompt["frame"], FRAMES)
    if (kinds != ["mask"] or refines(prompt)) and "label" not in prompt:
        raise InputError(f"{where} has no 'label': name its organ")
    belongs = {"point_labels": "points", "slice": "box", "fixed": "mask", "locked": "mask"}
    for key, kind in belongs.items():
        if key in prompt and kind not in kinds:
            raise InputError(f"{where}: {key!r} belongs to {kind!r}, not to {kinds[0]!r}")
    for kind in kinds:
        {"box": _check_box, "points": _check_points, "mask": _check_mask}[kind](prompt, where)


def _check_name(label: Any, where: str, labels: Mapping[str, Any], names: Sequence[str]) -> None:
    if label not in list(labels):
        raise unknown(f"label in {where}:", label, labels)
    if not names:
        raise InputError(
            f"{where} needs either 'box', 'points' or 'mask': this model has not learned to find "
            f"{label!r} by name; for that train with --names True"
        )
    if label not in names:
        raise unknown(f"organ by name in {where}:", label, names)


def _check_mask(prompt: Mapping[str, Any], where: str) -> None:
    mask = prompt["mask"]
    if not isinstance(mask, str | Path) and not hasattr(mask, "shape"):
        raise InputError(f"{where}: mask={mask!r} must be the path of a label volume")
    if isinstance(mask, str | Path) and not Path(mask).exists():
        raise InputError(f"{where}: mask {prompt['mask']!r} does not exist: correct its path")
    fixed = prompt.get("fixed", [])
    if not isinstance(fixed, Sequence) or not all(type(k) is int and k >= 0 for k in fixed):
        raise InputError(f"{where}: fixed={fixed!r} must be a list of slice numbers, from 0")
    if not isinstance(prompt.get("locked", False), bool):
        raise InputError(f"{where}: locked={prompt['locked']!r} must be true or false")


def _check_points(prompt: Mapping[str, Any], where: str) -> None:
    points = prompt["points"]
    none = not points and "mask" not in prompt
    if not isinstance(points, Sequence) or none or not all(_numbers(p, 3) for p in points):
        raise InputError(f"{where}: points={points!r} must be a list of [i, j, k]")
    _check_voxels(prompt, [value for point in points for value in point], where, "points")
    kinds = prompt.get("point_labels", [1] * len(points))
    if (
        not isinstance(kinds, Sequence)
        or len(kinds) != len(points)
        or any(kind not in (0, 1) for kind in kinds)
    ):
        raise InputError(
            f"{where}: point_labels={kinds!r} must be 1 (in the organ) or 0 (not in it) for each "
            f"of the {len(points)} points"
        )


def _check_box(prompt: Mapping[str, Any], where: str) -> None:
    box, length = prompt["box"], 4 if "slice" in prompt else 6
    if not _numbers(box, length):
        raise InputError(
            f"{where}: box={box!r} must be {length} numbers, "
            + ("i0, j0, i1, j1 beside 'slice'" if length == 4 else "i0, j0, k0, i1, j1, k1")
        )
    if not isinstance(prompt.get("slice", 0), int):
        raise InputError(f"{where}: slice={prompt['slice']!r} must be a whole number")
    voxel = prompt.get("frame", "voxel") == "voxel"
    if "slice" in prompt and not voxel:
        raise InputError(f"{where}: a box with 'slice' is in voxels; give six numbers in mm")
    pairs = list(zip(box[: length // 2], box[length // 2 :], strict=True))
    for axis, (low, high) in enumerate(pairs):
        if voxel and low > high:
            raise InputError(
                f"{where}: box={box!r} is inverted along axis {axis} ({low} > {high}): "
                "give the lower corner first"
            )
    if sum(low == high for low, high in pairs) + (length == 4) > 1:
        raise InputError(f"{where}: box={box!r} has no area: it may be flat along one axis only")
    _check_voxels(prompt, box, where, "box")


def _check_voxels(prompt: Mapping[str, Any], values: Sequence[float], where: str, key: str) -> None:
    """Raise an InputError for shares of the volume's sides, which as voxels are its corner."""
    shares = all(0 <= value <= 1 for value in values)
    if prompt.get("frame", "voxel") == "voxel" and shares:
        if key == "box" or any(value not in (0, 1) for value in values):
            raise InputError(
                f"{where}: {key}={prompt[key]!r} looks like shares of the volume (0 to 1): "
                "multiply them by its numbers of voxels"
            )


def _numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(isinstance(v, int | float) and abs(v) < float("inf") for v in values)
    )
