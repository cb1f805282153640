"""A DICOMweb server as datastore."""

import threading
from pathlib import Path
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.dicom import dicom_web_upload_dcm
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.names import parted
from lib.segmentations import label_info_of
from lib.stores import CheckedDatastore
from lib.structures import structure_set


class CheckedSeries(DICOMWebDatastore, CheckedDatastore):
    """Series of a DICOMweb server, whose labels go there as DICOM SEG.

    Attributes:
        rtstruct: they go there as structure sets too.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        self.rtstruct = False
        self._fetching = threading.RLock()
        super().__init__(*given, **options)

    def get_image_uri(self, image_id: str) -> str:
        """Return where a series lies, fetched by one request while others wait for it."""
        with self._fetching:
            return str(super().get_image_uri(image_id))

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict,
        label_id: str = "",
    ) -> str:
        """Keep a label volume here and there, checked first; OHIF's scribbles are voxels alone."""
        if not label_filename.endswith(".bin"):
            self.checked_label(image_id, label_filename, label_info)
            if self.rtstruct and label_tag == DefaultLabelTag.FINAL:
                self._send_structures(image_id, label_filename, label_info.get("label_info"))
        return str(super().save_label(image_id, label_filename, label_tag, label_info, label_id))

    def _send_structures(self, image_id: str, label: str, info: Any) -> None:
        self.get_image_uri(image_id)
        file = structure_set(
            self.labels, str(Path(self._datastore.image_path(), image_id)), label, info
        )
        try:
            dicom_web_upload_dcm(file, self._client)
        finally:
            Path(file).unlink()

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Return the label that was saved here, or fetch it."""
        kept = LocalDatastore.get_label_uri(self, label_id, label_tag)
        return kept or str(super().get_label_uri(label_id, label_tag, image_id))

    def _dicom_info(self, series_id: str) -> dict[str, Any]:
        """Return what is noted beside a series; of a label also what its numbers mean."""
        folder = Path(self._datastore.label_path(DefaultLabelTag.FINAL), series_id)
        meant = label_info_of(folder)
        return {**super()._dicom_info(series_id), **({"label_info": meant} if meant else {})}

    def _to_id(self, file: str) -> tuple[str, str]:
        return parted(file)
