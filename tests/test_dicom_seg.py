"""Predictions of a DICOM series as a DICOM segmentation that highdicom reads back."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from conftest import ct
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from test_batch import BOX, infer, options  # noqa: F401

highdicom = pytest.importorskip("highdicom")


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
        one.save_as(folder / f"{z}.dcm", enforce_file_format=True)


def test_segmentation_lies_on_its_series(tmp_path: Path, options: dict) -> None:  # noqa: F811
    image = ct(0)[0]
    save_series(tmp_path / "in" / "scan", image)
    (tmp_path / "prompts.json").write_text(json.dumps({"scan": [BOX]}))
    assert not infer(options, dicom_seg=True)
    found = highdicom.seg.segread(tmp_path / "out" / "scan.dcm")
    assert found.get_segment_description(1).segment_label == "liver"
    sources = [pydicom.dcmread(p) for p in sorted((tmp_path / "in" / "scan").iterdir())]
    sources.sort(key=lambda s: s.ImagePositionPatient[2])
    frames = found.get_pixels_by_source_instance(
        [s.SOPInstanceUID for s in sources], assert_missing_frames_are_empty=True
    )
    nifti = nib.as_closest_canonical(nib.load(tmp_path / "out" / "scan.nii.gz"))
    wanted = np.asanyarray(nifti.dataobj)[::-1, ::-1]  # RAS -> LPS
    assert wanted.any()
    assert np.array_equal(frames[..., 0].transpose(2, 1, 0), wanted == 1)


def test_series_without_headers_is_told(tmp_path: Path, options: dict) -> None:  # noqa: F811
    save_series(tmp_path / "in" / "scan", ct(0)[0])
    for path in (tmp_path / "in" / "scan").iterdir():
        one = pydicom.dcmread(path)
        del one.StudyInstanceUID
        one.save_as(path)
    (tmp_path / "prompts.json").write_text(json.dumps({"scan": [BOX]}))
    assert "headers lack what a DICOM segmentation repeats" in infer(options, dicom_seg=True)
    assert (tmp_path / "out" / "scan.nii.gz").exists()
