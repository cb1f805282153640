"""Where a label volume's own names contradict what its values are said to be, that is told."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from samparser_monai.errors import InputError
from samparser_monai.volumes.label_table import label_table
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.reading import read_volume

VALUES = np.zeros((4, 5, 3), np.uint8)
VALUES[0], VALUES[1], VALUES[2], VALUES[3] = 1, 2, 3, 5
NAMES = {1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver"}


def as_nifti(path: Path, names: dict[int, str]) -> Path:
    """Write the values as TotalSegmentator does with ``--ml``."""
    image = nib.Nifti1Image(VALUES, np.eye(4))
    labels = "".join(
        f'<Label Key="{value}" Red="1.0" Green="0" Blue="0" Alpha="1"><![CDATA[{name}]]></Label>\n'
        for value, name in names.items()
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <VolumeInformation Index="0">'
        f"<LabelTable>\n{labels}</LabelTable></VolumeInformation></CaretExtension>\n      "
    )
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, text.encode()))
    nib.save(image, path)
    return path


def as_nrrd(path: Path, names: dict[int, str]) -> Path:
    """Write the values as 3D Slicer does."""
    image = sitk.GetImageFromArray(VALUES.transpose(2, 1, 0))
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])  # RAS, as the NIfTI file
    for number, (value, name) in enumerate(names.items()):
        image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        image.SetMetaData(f"Segment{number}_Name", name)
    sitk.WriteImage(image, str(path))
    return path


WRITERS = [(as_nifti, "case.nii.gz"), (as_nrrd, "case.seg.nrrd")]


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"liver": 1, "kidney": 2, "spleen": 3}, [3, 2, 2, 1]),
        ({"liver": 5, "kidney": [2, 3], "spleen": 1}, [1, 2, 3, 5]),
        ({"spleen": 4}, [4, 0, 0, 0]),
        ({"upper abdomen": [1, 5], "kidney": 2}, [1, 2, 2, 1]),
        ({"lung": 1, "heart": 2}, [1, 2, 3, 5]),
    ],
    ids=["own values", "the same", "one organ", "joined", "none of its names"],
)
def test_names_of_a_prompt_go_before_values(
    write: object, name: str, labels: dict, expected: list[int], tmp_path: Path
) -> None:
    path = write(tmp_path / name, NAMES)
    assert label_table(path) == NAMES
    told: list[str] = []
    found = read_labels_like(read_volume(path), path, labels, told).numpy()[0]
    assert bool(told) == (expected != [1, 2, 3, 5])
    assert [np.unique(plane).tolist() for plane in found] == [[value] for value in expected]


def test_lesion_stays_with_its_organ(tmp_path: Path) -> None:
    path = as_nifti(tmp_path / "case.nii.gz", {1: "liver", 2: "liver tumour", 3: "spleen"})
    labels = {"liver": [1, 2], "spleen": 7}
    found = read_labels_like(read_volume(path), path, labels, []).numpy()[0]
    assert found[:, 0, 0].tolist() == [1, 1, 7, 0]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_values_of_a_label_count_and_its_names_are_told(
    write: object, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / name, NAMES)
    found = read_labels_like(read_volume(path), path, {"liver": 1}).numpy()
    assert np.array_equal(found[0], VALUES)
    assert f"{path}: its header names organs by the values {{'liver': [5]}}" in caplog.text


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    path = as_nrrd(tmp_path / "case.seg.nrrd", NAMES)
    path.write_bytes(
        path.read_bytes().replace(b"Segment1_LabelValue:=2", b"Segment1_LabelValue:=1")
    )
    with pytest.raises(InputError, match="names its value 1 'spleen' and 'kidney_right'"):
        label_table(path)


def test_files_without_names_have_none(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VALUES, np.eye(4)), tmp_path / "a.nii")
    assert label_table(tmp_path / "a.nii") == {}
    image = nib.Nifti1Image(VALUES, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, b"<LabelTable><Label"))
    nib.save(image, tmp_path / "b.nii")
    assert label_table(tmp_path / "b.nii") == {}
