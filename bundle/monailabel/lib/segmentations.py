"""Labels as DICOM segmentations, with the codes of their organs.

MONAI Label needs a program of another package for them, names segments by their order, whatever
their values, and codes each of them as a spleen.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from monailabel.datastore import dicom
from monailabel.datastore.utils import convert
from monailabel.endpoints import infer

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
    values = whole_labels(read_volume(label).numpy(), "the label")
    colours = {n: one.get("color") for n, one in enumerate(label_info or [], start=1)}
    named = names_of(values, labels, label_info)
    info = [_described(value, name, colours) for value, name in named.items()]
    return str(MAKE(series_dir, label, info, file_ext=file_ext, use_itk=False))


def _described(value: int, name: str, colours: Mapping[int, Any]) -> dict[str, Any]:
    code = code_of(name)
    colour = colours.get(value) or convert.GENERIC_ANATOMY_COLORS.get(name, (255, 0, 0))
    return {
        "model_name": "samparser_monai",
        "segmentAttribute": {
            "labelID": value,
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
