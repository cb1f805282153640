"""A DICOM series as a scanner writes it."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

NEW = int(pydicom.__version__.partition(".")[0]) >= 3
WHOLE = {"enforce_file_format": True} if NEW else {"write_like_original": False}


def save_series(folder: Path, values: np.ndarray) -> None:
    """Write an array (x, y, z; LPS) as a CT series with the headers that a scanner writes."""
    folder.mkdir(parents=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for z in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(str(folder / f"{z}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID, one.Modality = frame, "CT"
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "1", "A", "", ""
        one.StudyDate = one.StudyTime = one.AccessionNumber = one.StudyID = ""
        one.ReferringPhysicianName, one.SeriesNumber, one.InstanceNumber = "", 1, z + 1
        one.ImagePositionPatient = [5.0, -7.0, 3.0 * z]
        one.ImageOrientationPatient, one.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.8]
        one.SliceThickness, one.PositionReferenceIndicator = 3.0, ""
        one.Columns, one.Rows = values.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.ascontiguousarray(values[:, :, z].T).astype(np.int16).tobytes()
        if not NEW:
            one.is_little_endian, one.is_implicit_VR = True, False
        one.save_as(folder / f"{z}.dcm", **WHOLE)
