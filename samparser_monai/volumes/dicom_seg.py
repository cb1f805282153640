"""Label volumes of DICOM series as DICOM segmentations, by highdicom."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Transform

from samparser_monai import __version__
from samparser_monai.errors import InputError, writable
from samparser_monai.files import replacing
from samparser_monai.volumes.dicom import is_dicom, planes_of
from samparser_monai.volumes.organ_codes import code_of
from samparser_monai.volumes.organs import Labels, organ_values


class SaveSegd(Transform):
    """Write the label volume ``pred`` of an item whose source is a DICOM series as ``<case>.dcm``.

    Items from other sources pass unchanged.

    Args:
        output_dir: of the files.
        labels: organ -> its value, or values of which the first was written.

    Raises:
        InputError: highdicom is not installed, or a series has been stripped of its headers.
    """

    def __init__(self, output_dir: str | Path, labels: Labels) -> None:
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            raise InputError(
                "dicom_seg=True needs highdicom: pip install 'samparser-monai[dicom]'"
            ) from error
        self.folder, self.labels = writable("output_dir", output_dir), organ_values(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the item's segmentation."""
        source = Path(data["image"].meta["filename_or_obj"])
        values = data["pred"].cpu().numpy()[0].astype(np.uint8)
        if (source.is_dir() or is_dicom(source)) and values.any():
            try:
                segmentation = self.segmentation(source, values)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{source}: its headers lack what a DICOM segmentation repeats ({error!r}): "
                    "complete them, or do without --dicom_seg; the NIfTI file is written"
                ) from error
            with replacing(self.folder / f"{data['case']}.dcm") as temporary:
                segmentation.save_as(temporary)
        return dict(data)

    def segmentation(self, source: Path, values: np.ndarray) -> Any:
        """Return the DICOM object of labels, XxYxZ, on the grid of a series."""
        import highdicom as hd
        import pydicom
        from pydicom.sr.codedict import codes
        from pydicom.sr.coding import Code

        planes = planes_of(source)
        files = dict.fromkeys(plane.file for plane in planes)
        places = np.argsort([plane.frame for plane in planes], kind="stable")  # as in the file
        numbered = np.zeros_like(values)
        segments: list[Any] = []
        for organ, (value, *_) in self.labels.items():
            if (values == value).any():
                number = len(segments) + 1
                numbered[values == value] = number
                segments.append(
                    hd.seg.SegmentDescription(
                        segment_number=number,
                        segment_label=organ,
                        segmented_property_category=codes.SCT.AnatomicalStructure,
                        segmented_property_type=Code(*code_of(organ)),
                        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
                        algorithm_identification=hd.AlgorithmIdentificationSequence(
                            name="samparser_monai",
                            version=__version__,
                            family=codes.DCM.ArtificialIntelligence,
                        ),
                    )
                )
        return hd.seg.Segmentation(
            source_images=[pydicom.dcmread(file, stop_before_pixels=True) for file in files],
            pixel_array=numbered.transpose(2, 1, 0)[places],  # frames, rows, columns
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            series_number=100,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="samparser_monai",
            manufacturer_model_name="samparser_monai",
            software_versions=__version__,
            device_serial_number="0",
        )
