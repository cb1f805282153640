"""Prompts that people write: a JSON file, or coarse label volumes; checked before any work.

The JSON file has a list to each case, a volume's name without endings::

    {"case_1": [
        {"label": "liver",  "box": [i0, j0, k0, i1, j1, k1]},
        {"label": "spleen", "box": [i0, j0, i1, j1], "slice": k},
        {"label": "kidney", "box": [x0, y0, z0, x1, y1, z1], "frame": "LPS"},
        {"mask": "case_1_coarse.nii.gz"}]}

``frame`` is ``voxel`` (the default: indices of the file's own array, corners included), or
``RAS`` or ``LPS`` for millimetres. A mask's boxes are those of its components on each slice; its
values are those of the labels; with ``label`` only that organ is taken from it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError, unknown

Prompt = dict[str, Any]
FRAMES = ("voxel", "RAS", "LPS")
KEYS = ("label", "box", "slice", "mask", "frame")


def read_prompts(
    path: str | Path, cases: Sequence[str], labels: Mapping[str, Any]
) -> dict[str, list[Prompt]]:
    """Read the prompts of some cases from a JSON file, or from a folder of coarse label volumes.

    Raises:
        InputError: a prompt that cannot be used, one for a case that is not there, or a case
            without any.
    """
    path = Path(path)
    if path.is_dir():
        masks = {_stem(p): p for p in sorted(path.iterdir()) if ".nii" in p.suffixes}
        found = {case: [{"mask": str(mask)}] for case, mask in masks.items()}
    else:
        found = _from_json(path)
    for case, prompts in found.items():
        if case not in cases:
            raise unknown(f"case in prompts={str(path)!r}:", case, cases)
        for number, prompt in enumerate(prompts):
            _check(prompt, f"{path}: prompt {number} of case {case!r}", labels)
    if lacking := [case for case in cases if not found.get(case)]:
        raise InputError(
            f"prompts={str(path)!r} has none for {len(lacking)} of {len(cases)} cases, the first "
            f"is {lacking[0]!r}: add a box or a mask, or take the volume out of dataset_dir"
        )
    return found


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")


def _from_json(path: Path) -> dict[str, list[Prompt]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"prompts={str(path)!r} is no readable JSON file ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise InputError(f"prompts={str(path)!r} must hold a list of prompts to each case's name")
    for prompts in found.values():
        for prompt in prompts:
            if isinstance(prompt, dict) and "mask" in prompt:
                prompt["mask"] = str(path.parent / str(prompt["mask"]))
    return found


def _check(prompt: Any, where: str, labels: Mapping[str, Any]) -> None:
    if not isinstance(prompt, dict):
        raise InputError(f"{where} is {prompt!r}: it must be an object with 'box' or 'mask'")
    for key in prompt:
        if key not in KEYS:
            raise unknown(f"key in {where}:", key, KEYS)
    if ("box" in prompt) == ("mask" in prompt):
        raise InputError(f"{where} needs either 'box' or 'mask', not {sorted(prompt)}")
    if "label" in prompt and prompt["label"] not in labels:
        raise unknown(f"label in {where}:", prompt["label"], labels)
    if prompt.get("frame", "voxel") not in FRAMES:
        raise unknown(f"frame in {where}:", prompt["frame"], FRAMES)
    if "mask" in prompt:
        if not Path(prompt["mask"]).exists():
            raise InputError(f"{where}: mask {prompt['mask']!r} does not exist: correct its path")
        return
    if "label" not in prompt:
        raise InputError(f"{where} has a box without 'label': name its organ")
    _check_box(prompt, where)


def _check_box(prompt: Prompt, where: str) -> None:
    box, length = prompt["box"], 4 if "slice" in prompt else 6
    numbers = isinstance(box, list) and all(isinstance(x, int | float) for x in box)
    if not numbers or len(box) != length:
        raise InputError(
            f"{where}: box={box!r} must be {length} numbers, "
            + ("i0, j0, i1, j1 beside 'slice'" if length == 4 else "i0, j0, k0, i1, j1, k1")
        )
    if "slice" in prompt and prompt.get("frame", "voxel") != "voxel":
        raise InputError(f"{where}: a box with 'slice' is in voxels; give six numbers in mm")
    half = length // 2
    for axis, (low, high) in enumerate(zip(box[:half], box[half:], strict=True)):
        if prompt.get("frame", "voxel") == "voxel" and low > high:
            raise InputError(
                f"{where}: box={box!r} is inverted along axis {axis} ({low} > {high}): "
                "give the lower corner first"
            )
        if low == high and axis < 2:
            raise InputError(f"{where}: box={box!r} has no area along axis {axis}: widen it")
