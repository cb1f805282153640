"""The names that a label volume itself gives to its values.

TotalSegmentator and Connectome Workbench write them into the header of a NIfTI file (an XML
extension with a ``LabelTable``), 3D Slicer into that of a ``.seg.nrrd``. Who gives the values other
meanings may have left the names of before: what contradicts is told.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from samparser_monai.errors import InputError
from samparser_monai.files import ends_with
from samparser_monai.volumes.organ_names import LESIONS, same_organ
from samparser_monai.volumes.organs import Labels, organ_values


def label_table(path: str | Path) -> dict[int, str]:
    """Return value -> name as a NIfTI or NRRD file says; {} where it names nothing.

    Raises:
        InputError: it gives a value two names, as of segments that overlap.
    """
    path = Path(path)
    if ends_with(path, (".nii", ".nii.gz")):
        pairs = _of_nifti(path)
    elif ends_with(path, (".nrrd", ".nhdr")):
        pairs = _of_nrrd(path)
    else:
        return {}
    table: dict[int, str] = {}
    for value, name in pairs:
        if value and table.setdefault(value, name) != name:
            raise InputError(
                f"{path} names its value {value} {table[value]!r} and {name!r}: segments that "
                "overlap; export them as one label volume"
            )
    return table


def _of_nifti(path: Path) -> list[tuple[int, str]]:
    found = []
    for extension in getattr(nib.load(path).header, "extensions", ()):
        content = extension.get_content()
        if isinstance(content, bytes) and b"<LabelTable" in content:
            text = content.rstrip(b"\0 \n").decode("utf-8", errors="replace")
            try:
                labels = list(ElementTree.fromstring(text).iter("Label"))
            except ElementTree.ParseError:
                continue
            found += [(int(label.get("Key", 0)), (label.text or "").strip()) for label in labels]
    return [(value, name) for value, name in found if name]


def _of_nrrd(path: Path) -> list[tuple[int, str]]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    fields = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    return [
        (int(value), fields.get(f"{key.removesuffix('LabelValue')}Name", ""))
        for key, value in fields.items()
        if re.fullmatch(r"Segment\d+_LabelValue", key) and value.strip().isdigit()
    ]


def own_values(values: np.ndarray, path: str | Path, labels: Labels) -> dict[str, list[int]]:
    """Return organ -> its values by the file's own names; {} where these say what ``labels`` say.

    So they do where the file names none of the organs. What it calls otherwise is not theirs, but
    for values that were joined: a lesion with its organ, or several under a name of the user's own.

    Args:
        values: of the file, any shape, uint8.
        path: of the file.
        labels: organ -> its value, or values.
    """
    table = {value: name for value, name in label_table(path).items() if (values == value).any()}
    known = organ_values(labels)
    own = {o: [v for v, name in table.items() if same_organ(o, name)] for o in known}
    if not any(own.values()):
        return {}
    for organ, typed in known.items():
        joined = [v for v in typed if len(typed) > 1 and not own[organ]]
        lesions = [v for v in typed if len(typed) > 1 and LESIONS.search(table.get(v, "").lower())]
        unnamed = [v for v in typed if v not in table]
        own[organ] = sorted({*own[organ], *joined, *lesions, *unnamed})
    return {} if all(own[organ] == sorted(typed) for organ, typed in known.items()) else own


def revalued(values: np.ndarray, own: Mapping[str, Sequence[int]], labels: Labels) -> np.ndarray:
    """Return a label volume in which each organ has its first value of ``labels``, by ``own``."""
    named = np.zeros_like(values)
    for organ, given in organ_values(labels).items():
        named[np.isin(values, own[organ]) & (named == 0)] = given[0]
    return named
