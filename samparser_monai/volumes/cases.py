"""Volumes to be segmented, with what people prompt them by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import ends_with, files_below, read_json, visible
from samparser_monai.sam.named_prompts import check_organs
from samparser_monai.volumes.dataset_json import check_labels
from samparser_monai.volumes.dicom import holds_scan, is_dicom
from samparser_monai.volumes.label_volumes import masks_in
from samparser_monai.volumes.listing import (
    FOLDERS,
    TRUTHS,
    case_of,
    folder_in,
    read_datalist,
    truth_beside,
    volumes_in,
)
from samparser_monai.volumes.organs import Labels
from samparser_monai.volumes.prompts import check_prompts, read_prompts
from samparser_monai.volumes.reading import ENDINGS

Item = dict[str, Any]
PAIRS = (*FOLDERS, ("imagesTs", "labelsTs"))
SECTIONS = ("testing", "test", "validation", "training")


def inference_items(
    root: str | Path | Sequence[str | Path],
    prompts: str | Path | None,
    labels: Mapping[str, Any],
    names: Sequence[str] = (),
    organs: str | Sequence[str] = (),
) -> list[Item]:
    """List volumes with their prompts: {image, case, prompts}, and {truth} where labels are known.

    What is wrong with one case is put into its item as ``error``: the other cases can go on.

    Args:
        root: a volume, a folder of volumes (files, a folder to a DICOM series), or a MONAI
            datalist, whose entries may have prompts of their own; or several of these.
        prompts: see read_prompts, or a folder of coarse label volumes named as the cases, or of
            folders so named with a mask to an organ, named after it; not
            needed where the datalist has them, or the network knows organs by name.
        labels: the organs that prompts may name.
        names: the organs that the network knows by name.
        organs: those of them that are asked for by name in every case whose own prompts do not
            name them; without any, and without prompts, all of ``names``.

    Raises:
        InputError: no volumes, or prompts that cannot be read at all; no prompts, or an organ
            without any, and a network that does not know it by name.
    """
    known_names, names = names, [organ for organ in names if organ in labels]
    if known_names and not names and (organs or prompts is None):
        raise InputError(
            f"labels={list(labels)} has none of the organs that this model knows by name: take "
            f"some of {list(known_names)}, or give --prompts"
        )
    asked = check_organs(organs, names)
    items = list_volumes(root, labels)
    known = {item["case"]: item for item in items}
    if prompts is None and not any("prompts" in item for item in items):
        if not names:
            raise InputError(
                "prompts is not given: name a JSON or CSV file, or a folder of coarse label "
                "volumes, by --prompts; or train with --names True: such a model finds its organs "
                "without prompts"
            )
        asked = asked or names
    for case, found in _read(prompts, labels, list(known)).items() if prompts is not None else ():
        if case in known:
            known[case]["prompts"] = found
        else:
            error = unknown(f"case in prompts={str(prompts)!r}:", case, known)
            items.append({"image": "", "case": case, "prompts": found, "error": str(error)})
    for item in items:
        own = item.setdefault("prompts", [])
        if isinstance(own, list):
            item["prompts"] = asked_too(own, asked)
        try:
            check_prompts(item["prompts"], f"case {item['case']!r}", labels, names)
        except InputError as error:
            item.setdefault("error", str(error))
    return items


def asked_too(prompts: list[Any], organs: Sequence[str]) -> list[Any]:
    """Return prompts, and one by name for each organ that none of them names."""
    named = {prompt.get("label") for prompt in prompts if isinstance(prompt, Mapping)}
    return [*prompts, *({"label": organ} for organ in organs if organ not in named)]


def _read(
    prompts: str | Path, labels: Mapping[str, Any], cases: Sequence[str]
) -> dict[str, list[Any]]:
    folder = Path(prompts)
    if not folder.is_dir():
        return read_prompts(prompts)
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and visible(path)]
    below = [path for path in below if path.name.lower() != "segmentations"]  # is no case
    folders = {path.name: path for path in below if masks_in(path, labels)}
    if folders:  # as TotalSegmentator leaves them: a folder a case with a mask an organ
        return {case: [{"mask": str(path)}] for case, path in folders.items()}
    if masks_in(folder, labels):
        if len(cases) > 1:
            raise InputError(
                f"prompts={str(prompts)!r} holds masks of one case's organs, and there are "
                f"{len(cases)} cases: put them into a folder for each, under the case's name"
            )
        return {cases[0]: [{"mask": str(folder)}]}
    if not (masks := volumes_in(Path(prompts))):
        raise InputError(
            f"prompts={str(prompts)!r} holds no label volumes: put one to each case there, under "
            "the case's name"
        )
    return {case: [{"mask": str(mask)}] for case, mask in masks.items()}


def list_volumes(
    root: str | Path | Sequence[str | Path], labels: Labels | None = None
) -> list[Item]:
    """List the volumes of a folder or a datalist, {image, case, truth?}; see inference_items."""
    if isinstance(root, Sequence) and not isinstance(root, str):
        return [item for one in root for item in list_volumes(one, labels)]
    root = Path(str(root))
    items = _from_datalist(root) if root.suffix.lower() == ".json" else _from_folder(root)
    described = root if root.suffix.lower() == ".json" else root / "dataset.json"
    if labels is not None and described.is_file() and any("truth" in item for item in items):
        check_labels(read_json(described), labels, described)
    return items


def _from_folder(root: Path) -> list[Item]:
    truths: dict[str, Path] = {}
    if root.is_file():
        volumes = {case_of(root): root}
    elif root.is_dir():
        found = [(folder_in(root, one), folder_in(root, other)) for one, other in PAIRS]
        folder, labels = next(((one, other) for one, other in found if one), (root, None))
        volumes = volumes_in(folder)
        if not volumes and any(is_dicom(p) for p in files_below(root)):
            volumes = {case_of(root.absolute()): root}
        labels = labels or folder_in(root, "labels")
        truths = volumes_in(labels) if labels else {}
        if folder != root and root not in volumes.values():
            _check_none_beside(root, folder, [*volumes.values(), *truths.values()])
        for case, path in volumes.items():
            own = case not in truths and path.parent != folder
            if own and (beside := truth_beside(path)) and beside.is_file():
                truths[case] = beside
    else:
        volumes = {}
    if not volumes:
        raise InputError(
            f"dataset_dir={str(root)!r} holds no volumes: expected {', '.join(ENDINGS)}, or "
            "folders with a DICOM series each"
        )
    return [
        {"image": str(path), "case": case}
        | ({"truth": str(truths[case])} if case in truths else {})
        for case, path in volumes.items()
    ]


def _check_none_beside(root: Path, folder: Path, taken: Sequence[Path]) -> None:
    """Raise an InputError if scans lie in the root, of which only a folder is taken."""
    known = {path.resolve() for path in taken}
    files = [p for p in sorted(root.iterdir()) if visible(p) and p.is_file()]
    for file in (p for p in files if p.resolve() not in known):
        volume = ends_with(file, ENDINGS) and case_of(file).lower() not in TRUTHS
        if volume or (not ends_with(file, ENDINGS) and holds_scan(file)):
            raise InputError(
                f"dataset_dir={str(root)!r} holds {file.name} beside {folder.name}/, and would be "
                f"read without it: give {str(folder)!r} alone, move {file.name} there, or name the "
                "volumes in a datalist *.json"
            )


def _from_datalist(path: Path) -> list[Item]:
    content = read_datalist(path)
    found: list[Item] = next((content[name] for name in SECTIONS if content[name]), [])
    if not found or not all("image" in item for item in found):
        raise InputError(
            f"{path} is not a MONAI datalist of volumes: it needs a list 'testing' of objects with "
            "'image' and perhaps 'label' and 'prompts'"
        )
    for item in found:
        if "label" in item:  # what is read as a label is what people drew
            item["truth"] = item.pop("label")
    return found
