"""What layouts and cases share: volumes in folders and in datalists, and what each is called."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with, files_below, read_json, visible
from samparser_monai.volumes.dicom import holds_scan
from samparser_monai.volumes.reading import ENDINGS

Item = dict[str, Any]
FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))
TRUTHS = ("label", "labels", "mask", "seg", "segmentation", "truth")
"""What the label of a case is called in a folder of its own."""


def case_of(path: Path) -> str:
    """Return a volume's name without endings: ``Case_00001_0000.nii.gz`` is Case_00001."""
    name = path.name.removesuffix(ending_of(path)).removesuffix("_0000")
    return unicodedata.normalize("NFC", name)


def ending_of(path: Path) -> str:
    """Return the ending of a volume file as it is written, the dot included; "" of others."""
    length = max((len(end) for end in ENDINGS if ends_with(path, (end,))), default=0)
    return path.name[len(path.name) - length :]


def folder_in(root: Path, name: str) -> Path | None:
    """Return the folder of this name, in whichever case it is written."""
    found = [p for p in root.iterdir() if p.name.lower() == name.lower() and p.is_dir()]
    return found[0] if found else None


def volumes_in(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder by case: files, and folders with a DICOM series each.

    A folder with volume files in it stands for these; what is called like a label is left out.

    Raises:
        InputError: a DICOM scan lies beside volumes, and either would be left out.
    """
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if not visible(path):
            continue
        if not path.is_dir():
            found += [path] * ends_with(path, ENDINGS)
        elif path.name.lower() not in (*TRUTHS, "labelstr", "labelsts", "segmentations"):
            files = files_below(path)
            inside = [p for p in files if ends_with(p, ENDINGS) and not _is_truth(p, path)]
            _check_no_scan(path, files, inside)
            found += inside or [path]
    _check_no_scan(folder, sorted(folder.iterdir()), found)
    return by_case(found)


def _check_no_scan(folder: Path, files: Iterable[Path], taken: Sequence[Path]) -> None:
    """Raise an InputError if a DICOM scan is among files of which others are taken."""
    others = [p for p in files if visible(p) and not ends_with(p, ENDINGS)]
    if taken and (scan := next((p for p in others if holds_scan(p)), None)):
        raise InputError(
            f"{folder} holds the DICOM scan {scan.relative_to(folder)} beside "
            f"{taken[0].relative_to(folder)}: which of them is meant cannot be told; move one "
            "away, give the folder of the scans alone, or name them in a datalist *.json"
        )


def truth_beside(image: Path) -> Path | None:
    """Return the label in a case's own folder: a volume, or a folder of one mask to an organ.

    Raises:
        InputError: there are several.
    """
    files = [p for p in sorted(image.parent.iterdir()) if visible(p)]
    named = [p for p in files if ends_with(p, ENDINGS) and case_of(p).lower() in TRUTHS]
    if masks := folder_in(image.parent, "segmentations"):
        named.append(masks)
    if len(named) > 1:
        raise InputError(
            f"{image.parent} holds {'two' if len(named) == 2 else len(named)} labels: "
            f"{', '.join(path.name for path in named)}; keep one, or name it in a datalist *.json"
        )
    return next(iter(named), None)


def _is_truth(path: Path, folder: Path) -> bool:
    parents = [part.lower() for part in path.relative_to(folder).parent.parts]
    return case_of(path).lower() in TRUTHS or "segmentations" in parents


def by_case(paths: Iterable[Path], apart: bool = True) -> dict[str, Path]:
    """Return volumes under their names; those of one name are called by the folders that differ.

    Args:
        paths: of the volumes.
        apart: whether names may come from folders.

    Raises:
        InputError: two volumes are the same case.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(paths):
        groups[case_of(path)].append(path)
    found: dict[str, Path] = {}
    for case, members in groups.items():
        names = _by_folders(case, members) if apart and len(members) > 1 else [case] * len(members)
        for name, path in zip(names, members, strict=True):
            if name in found:
                raise InputError(
                    f"{found[name]} and {path} are both case {name!r}: keep one, or name the "
                    "volumes in a datalist *.json"
                )
            found[name] = path
    return found


def _by_folders(case: str, paths: Sequence[Path]) -> list[str]:
    parents = [path.absolute().parent for path in paths]
    shared = len(Path(os.path.commonpath(parents)).parts)
    rests = [parent.parts[shared:] for parent in parents]
    if len({len(rest) for rest in rests}) == 1:
        differ = [n for n, parts in enumerate(zip(*rests, strict=True)) if len(set(parts)) > 1]
        rests = [tuple(rest[n] for n in differ) for rest in rests]
    return [unicodedata.normalize("NFC", "_".join(rest)) or case for rest in rests]


def read_datalist(path: Path) -> dict[str, Any]:
    """Read a MONAI datalist: a list of items {image, label?, case, ...} to each section.

    The paths of its entries are made absolute; what is no list of entries stays as it is.

    Raises:
        InputError: it is no datalist; an entry has several channels, or an impossible name.
    """
    content = read_json(path)
    sections = ("training", "validation", "test", "testing")
    if not isinstance(content, dict) or not any(s in content for s in sections):
        raise InputError(
            f"{path} is not a MONAI datalist: it needs a list 'training' (or 'testing') of objects "
            "with 'image' and 'label'"
        )
    for name in sections:
        entries = content.get(name) or []
        if name.startswith("test") and isinstance(entries, list):  # bare paths, as MSD has them
            entries = [{"image": e} if isinstance(e, str) else e for e in entries]
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise InputError(
                f"{path} is not a MONAI datalist: {name!r} must be a list of objects with 'image' "
                f"and 'label', not {str(entries)[:60]}"
            )
        content[name] = [_entry(entry, path) for entry in entries]
    _name(content, sections, path)
    return content


def _entry(entry: Item, datalist: Path) -> Item:
    entry = {key: value for key, value in entry.items() if value is not None}
    for key in {"image", "label"} & entry.keys():
        value = entry[key]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str):
            raise InputError(
                f"{datalist}: {key}={value!r} must be the path of one volume: of several channels "
                "name the CT alone"
            )
        entry[key] = str(_existing(datalist.parent, value))
    for key in {"case", "patient"} & entry.keys():
        entry[key] = str(entry[key])
    parts = entry.get("case", "x").replace("\\", "/").split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise InputError(f"{datalist}: case {entry['case']!r} cannot be the name of a file")
    return entry


def _existing(folder: Path, name: str) -> Path:
    """Return a listed file as it is on this disk: with slashes, nnU-Net's _0000, NFC or NFD."""
    path = folder / name
    slashed = folder / name.replace("\\", "/")
    ending = ending_of(slashed)
    channel = slashed.with_name(f"{slashed.name.removesuffix(ending)}_0000{ending}")
    forms = [Path(unicodedata.normalize(form, str(slashed))) for form in ("NFC", "NFD")]
    return next((p for p in (path, slashed, channel, *forms) if p.exists()), path)


def _name(content: Item, sections: Sequence[str], path: Path) -> None:
    """Give each entry without a case its name, over all sections."""
    entries = [entry for name in sections for entry in content[name] if "image" in entry]
    images = {Path(entry["image"]) for entry in entries if "case" not in entry}
    names = {image: case for case, image in by_case(images).items()}
    for entry in entries:
        entry.setdefault("case", names.get(Path(entry["image"])))
    for name in sections:
        owners: dict[str, Item] = {}
        for entry in (entry for entry in content[name] if "image" in entry):
            if owners.setdefault(entry["case"], entry) is not entry:
                raise InputError(
                    f"{path}: {owners[entry['case']]['image']} and {entry['image']} are both case "
                    f"{entry['case']!r} of {name!r}: give each a 'case' of its own"
                )
