"""Predictions of a DICOM series as a DICOM segmentation that highdicom reads back."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from conftest import ct
from series import save_series
from test_batch import BOX, infer, options  # noqa: F401

highdicom = pytest.importorskip("highdicom")


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
