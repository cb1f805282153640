"""Labels as DICOM structure sets, contours on each slice, which radiotherapy reads: by rt-utils."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from lib.labels import names_of
from samparser_monai import __version__
from samparser_monai.volumes.dicom import read_series
from samparser_monai.volumes.label_volumes import read_labels_like


def structure_set(
    labels: Mapping[str, Any],
    series_dir: str,
    label: str,
    label_info: Sequence[Mapping[str, Any]] | None,
) -> str:
    """Write a label volume as the structure set of its series, and return the file.

    Args:
        labels: of the model, for values that ``label_info`` does not name.
        series_dir: of the DICOM files.
        label: path of the volume.
        label_info: names and values of its segments, as viewers send them.

    Raises:
        InputError: values that are no labels, or another grid.
    """
    from rt_utils import RTStructBuilder  # and OpenCV with it

    values = read_labels_like(read_series(series_dir), label).numpy()[0]  # columns, rows, slices
    made = RTStructBuilder.create_new(series_dir)
    made.ds.StructureSetLabel = made.ds.ManufacturerModelName = "samparser_monai"
    made.ds.Manufacturer = made.ds.InstitutionName = "samparser_monai"
    made.ds.SoftwareVersions, made.ds.SeriesDescription = __version__, "samparser_monai"
    for value, name in names_of(values, labels, label_info).items():
        inside = (values == value).transpose(1, 0, 2)
        made.add_roi(inside, name=name, approximate_contours=False)
        made.ds.StructureSetROISequence[-1].ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    handle, path = tempfile.mkstemp(suffix=".dcm")
    os.close(handle)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        made.save(path)
    return path
