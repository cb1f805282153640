"""Labels as DICOM segmentations, with the codes of their organs.

MONAI Label needs a program of another package for them, names segments by their order, whatever
their values, numbers them with gaps, and codes each of them as a spleen.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.datastore import dicom
from monailabel.datastore.utils import convert
from monailabel.endpoints import infer
from pydicom import dcmread

from lib.labels import names_of
from samparser_monai.volumes.organ_codes import code_of
from samparser_monai.volumes.organs import whole_labels
from samparser_monai.volumes.reading import read_volume

MAKE = convert.nifti_to_dicom_seg
CATEGORY = ("123037004", "SCT", "Anatomical Structure")


def replace_segmentations(labels: Mapping[str, Any]) -> None:
    """Have DICOM segmentations made by ``segmentation``, with a model's organs."""
    made = partial(segmentation, labels)
    infer.nifti_to_dicom_seg = dicom.nifti_to_dicom_seg = made


def segmentation(
    labels: Mapping[str, Any],
    series_dir: str,
    label: str,
    label_info: Sequence[Mapping[str, Any]] | None,
    file_ext: str = "*",
    use_itk: bool = False,
) -> str:
    """Write a label volume as a DICOM segmentation of its series, and return the file.

    Args:
        labels: of the model, for values that ``label_info`` does not name.
        series_dir: of the DICOM files.
        label: path of the volume.
        label_info: names and values of its segments, as viewers send them.
        file_ext: of the DICOM files.
        use_itk: is not used.
    """
    read = read_volume(label)
    values = whole_labels(read.numpy()[0], "the label")
    colours = {n: one.get("color") for n, one in enumerate(label_info or [], start=1)}
    named = names_of(values, labels, label_info)
    info = [
        _described(number, name, colours.get(value))
        for number, (value, name) in enumerate(named.items(), start=1)
    ]
    numbers = np.zeros(256, np.uint8)  # DICOM numbers segments from 1, without gaps
    numbers[list(named)] = np.arange(1, len(named) + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "numbered.nii.gz"))
        nib.save(nib.Nifti1Image(numbers[values], np.asarray(read.affine)), path)
        return str(MAKE(series_dir, path, info, file_ext=file_ext, use_itk=False))


def label_info_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the numbers of a DICOM segmentation in a folder mean; nothing of another."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        found = dcmread(file, stop_before_pixels=True).get("SegmentSequence", ())
        if found:
            return [{"name": str(o.SegmentLabel), "idx": int(o.SegmentNumber)} for o in found]
    return []


def _described(number: int, name: str, colour: Any) -> dict[str, Any]:
    code = code_of(name)
    colour = colour or convert.GENERIC_ANATOMY_COLORS.get(name, (255, 0, 0))
    return {
        "model_name": "samparser_monai",
        "segmentAttribute": {
            "labelID": number,
            "SegmentLabel": name,
            "SegmentDescription": name,
            "SegmentAlgorithmType": "SEMIAUTOMATIC",
            "SegmentAlgorithmName": "samparser_monai",
            "SegmentedPropertyCategoryCodeSequence": _sequence(*CATEGORY),
            "SegmentedPropertyTypeCodeSequence": _sequence(*code),
            "recommendedDisplayRGBValue": [int(part) for part in list(colour)[:3]],
        },
    }


def _sequence(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}
