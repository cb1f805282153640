"""Volumes that wait for a prediction, with what people prompt them by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.data import load_decathlon_datalist

from samparser_monai.data.abdomen_ct import FOLDERS, case_of, volumes_in
from samparser_monai.errors import InputError, unknown
from samparser_monai.prompt_files import check_prompts, read_prompts

Item = dict[str, Any]
IMAGES = (*(first for first, _ in FOLDERS), "imagesTs")
SECTIONS = ("testing", "test", "validation", "training")


def inference_items(
    root: str | Path, prompts: str | Path | None, labels: Mapping[str, Any]
) -> list[Item]:
    """List volumes with their prompts: {image, case, prompts}, and {truth} where labels are known.

    What is wrong with one case is put into its item as ``error``: the other cases can go on.

    Args:
        root: a volume, a folder of volumes (NIfTI files, a folder to a DICOM series), or a MONAI
            datalist, whose entries may have prompts of their own.
        prompts: see read_prompts; not needed where the datalist has them.
        labels: the organs that prompts may name.

    Raises:
        InputError: no volumes, or prompts that cannot be read at all.
    """
    items = list_volumes(root)
    known = {item["case"]: item for item in items}
    if prompts is None and not any("prompts" in item for item in items):
        raise InputError(
            "prompts is not given: name a JSON or CSV file, or a folder of coarse label volumes, "
            "by --prompts"
        )
    for case, found in read_prompts(prompts).items() if prompts is not None else ():
        if case in known:
            known[case]["prompts"] = found
        else:
            error = unknown(f"case in prompts={str(prompts)!r}:", case, list(known)[:20])
            items.append({"image": "", "case": case, "prompts": found, "error": str(error)})
    for item in items:
        try:
            check_prompts(item.setdefault("prompts", []), f"case {item['case']!r}", labels)
        except InputError as error:
            item.setdefault("error", str(error))
    return items


def list_volumes(root: str | Path) -> list[Item]:
    """List the volumes of a folder or a datalist, {image, case, truth?}; see inference_items."""
    root = Path(root)
    return _from_datalist(root) if root.suffix == ".json" else _from_folder(root)


def _from_folder(root: Path) -> list[Item]:
    if root.is_file():
        volumes = {case_of(root): root}
    else:
        folder = next((root / name for name in IMAGES if (root / name).is_dir()), root)
        volumes = volumes_in(folder) if folder.is_dir() else {}
    if not volumes:
        raise InputError(
            f"dataset_dir={str(root)!r} holds no volumes: expected *.nii, *.nii.gz, or folders "
            "with a DICOM series each"
        )
    truths = {a: b for a, b in FOLDERS} | {"imagesTs": "labelsTs"}
    items: list[Item] = []
    for case, path in volumes.items():
        items.append({"image": str(path), "case": case})
        beside = root / truths.get(path.parent.name, "labels") / f"{case}.nii.gz"
        if beside.is_file():
            items[-1]["truth"] = str(beside)
    return items


def _from_datalist(path: Path) -> list[Item]:
    try:
        sections = json.loads(path.read_text())
        section = next(name for name in SECTIONS if sections.get(name))
        found = load_decathlon_datalist(str(path), is_segmentation=True, data_list_key=section)
        for item in found:
            item.setdefault("case", case_of(Path(item["image"])))
            if "label" in item:  # what is read as a label is what people drew
                item["truth"] = item.pop("label")
        return found
    except (OSError, ValueError, AttributeError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            f"{path} is not a MONAI datalist ({error!r}): it needs a list 'testing' of objects "
            "with 'image' and perhaps 'label' and 'prompts'"
        ) from error
