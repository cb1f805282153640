"""Labels as viewers save them: what they hold, whose it is, and what is left out."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import MetaTensor

from samparser_monai.errors import InputError
from samparser_monai.volumes.organ_names import organ_named
from samparser_monai.volumes.organs import organ_values, whole_labels
from samparser_monai.volumes.reading import read_oriented, read_volume

NUMBERED = re.compile(r"\s*(?:label|value|class)?[\s_:=-]*0*(\d+)\s*", re.IGNORECASE)
SHAPE = "it must be a list of {'name': 'liver', 'idx': 1}, one for each segment"


def labels_given(text: str) -> dict[str, Any]:
    """Return the organs of ``--conf labels``, organ -> its value, or values.

    Raises:
        InputError: it is no JSON, or no such object.
    """
    try:
        labels = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"--conf labels {text!r:.80} is no JSON ({error}): write it as '{{\"liver\": 1}}'"
        ) from error
    organ_values(labels)
    return labels


def segments_of(info: Any) -> dict[int, str]:
    """Return value -> name of the segments that a viewer says it has saved.

    3D Slicer numbers segments as they stand in its list and says so beside the file, under
    ``label_info``, by ``idx``, or ``id`` with scribbles. Without that a file has the organs' own
    values.

    Raises:
        InputError: it is of another shape, a value is not from 1 to 255, or is given twice.
    """
    if not isinstance(info, Mapping):
        raise InputError(f"params={info!r:.80} must be an object: {{'label_info': [...]}}")
    listed = info.get("label_info")
    if listed is None:
        return {}
    if not isinstance(listed, list):
        raise InputError(f"label_info={listed!r:.80}: {SHAPE}")
    found: dict[int, str] = {}
    for n, segment in enumerate(listed, start=1):
        name = segment.get("name") if isinstance(segment, Mapping) else None
        value = segment.get("idx", segment.get("id", n)) if isinstance(segment, Mapping) else None
        if not isinstance(name, str) or type(value) is not int:
            raise InputError(f"label_info has {segment!r:.80}: {SHAPE}")
        if not 1 <= value <= 255 or value in found:
            raise InputError(
                f"label_info gives {name!r:.80} the value {value}: values are from 1 to 255, "
                "each of one segment"
            )
        found[value] = name
    return found


def names_of(
    values: np.ndarray, labels: Mapping[str, Any], info: Sequence[Mapping[str, Any]] | None
) -> dict[int, str]:
    """Return the values that a label volume shows, in their order, and what each is called.

    Args:
        values: of the volume.
        labels: of the model, for values that ``info`` does not name.
        info: names and values of the segments, as viewers send them.
    """
    named = {value: organ for organ, own in organ_values(labels).items() for value in own}
    named |= segments_of({"label_info": list(info or []) or None})
    return {v: named.get(v, f"value {v}") for v in np.unique(values).tolist() if v}


def read_label(path: str, where: str) -> MetaTensor:
    """Return a label volume along LPS, uint8, with the values of its file.

    Raises:
        InputError: it is no volume, or holds what is no label.
    """
    return whole_volume(read_oriented(path), where)


def whole_volume(volume: MetaTensor, where: str) -> MetaTensor:
    """Return a label volume as uint8.

    Raises:
        InputError: it holds what is no label.
    """
    return MetaTensor(whole_labels(volume.numpy(), where), affine=volume.affine)


def own_values(info: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[int, int]:
    """Return value in the file -> the organ's own, the first of each, for what the model knows."""
    known = organ_values(labels)
    if not (segments := segments_of(info)):
        return {value: own[0] for own in known.values() for value in own}
    named = {value: organ_of(name, known) for value, name in segments.items()}
    return {value: known[organ][0] for value, organ in named.items() if organ is not None}


def organ_of(name: str, known: Mapping[str, Sequence[int]]) -> str | None:
    """Return the organ that a segment's name means, or the one whose value it is: "label 3", "3".

    Not so "Segment_3", which 3D Slicer calls the third segment, whatever that may be.
    """
    number = NUMBERED.fullmatch(name)
    values = {str(value): organ for organ, own in known.items() for value in own}
    return organ_named(name, known) or (values.get(number[1]) if number else None)


def organs_of(volume: MetaTensor, info: Mapping[str, Any], labels: Mapping[str, Any]) -> MetaTensor:
    """Return a label volume with the organs' own values; what the model does not know is 0."""
    table = np.zeros(256, np.uint8)
    for value, own in own_values(info, labels).items():
        table[value] = own
    return MetaTensor(table[volume.numpy()], affine=volume.affine)


def with_own_values(path: str, info: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """Return the path of a label volume with the organs' own values: this one, or a new file."""
    if not segments_of(info):
        return path
    read = read_volume(path)
    values = organs_of(whole_volume(read, path), info, labels).numpy()[0]
    with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
        nib.save(nib.Nifti1Image(values, np.asarray(read.affine)), file.name)
    return file.name


def told(
    voxels: Mapping[int, int], info: Mapping[str, Any], labels: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what training will use of a label, and what it leaves out: name -> voxels.

    Args:
        voxels: value in the file -> how many.
        info: what was saved beside it.
        labels: of the model.
    """
    segments, values = segments_of(info), own_values(info, labels)
    names = {own[0]: organ for organ, own in organ_values(labels).items()}
    used, left_out = dict.fromkeys(names.values(), 0), {}
    for value, count in voxels.items():
        if value in values:
            used[names[values[value]]] += count
        elif value:
            left_out[segments.get(value, f"value {value}")] = count
    return {"organs": {organ: n for organ, n in used.items() if n}, "left_out": left_out}


def voxels_of(volume: MetaTensor) -> dict[int, int]:
    """Return value -> how many voxels have it."""
    counts: Sequence[int] = np.bincount(volume.numpy().ravel(), minlength=256)
    return {value: int(count) for value, count in enumerate(counts) if count}
