"""DICOM series as archives have them: read onto their own slices, or refused by file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from samparser_monai.errors import InputError
from samparser_monai.volumes.reading import read_volume

SHAPE = (12, 10, 6)  # columns, rows, slices
CT = np.random.default_rng(0).integers(-1000, 1000, SHAPE)
AXES = [1, 0, 0, 0, 1, 0]


def header(kind: str = CTImageStorage) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = kind
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = "1.2.3", "1.2.3.4", "CT"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    return one


def stored(values: np.ndarray) -> bytes:
    """Return values (columns, rows, ..) as a scanner stores them: rows first, from 0."""
    return np.ascontiguousarray((values + 1024).T).astype(np.uint16).tobytes()


def slices() -> list[Dataset]:
    found = []
    for k in range(SHAPE[2]):
        one = header()
        one.ImagePositionPatient, one.ImageOrientationPatient = [5.0, -7.0, -40 + 3.0 * k], AXES
        one.PixelSpacing, one.SliceThickness = [0.7, 0.8], 3
        one.RescaleIntercept, one.RescaleSlope = -1024, 1
        one.Columns, one.Rows = SHAPE[:2]
        one.PixelData = stored(CT[:, :, k])
        found.append(one)
    return found


def write(folder: Path, series: list[Dataset], name: str = "I{:03d}.dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n, one in enumerate(series):
        one.save_as(folder / name.format(n), enforce_file_format=True)
    return folder


def places(folder: Path) -> np.ndarray:
    """Return where the first pixel of each slice of what is read lies, LPS."""
    affine = np.diag([-1, -1, 1, 1]) @ np.asarray(read_volume(folder).affine)
    return np.array([(affine @ [0, 0, k, 1])[:3] for k in range(SHAPE[2])])


def test_values_and_geometry_are_those_of_the_headers(tmp_path: Path) -> None:
    volume = read_volume(write(tmp_path / "a", slices()[::-1], "{}"))
    assert np.array_equal(volume.numpy()[0], CT)
    wanted = [[-0.8, 0, 0, -5], [0, -0.7, 0, 7], [0, 0, 3, -40], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, wanted, atol=1e-9)


def dated(series: list[Dataset]) -> None:
    for n, one in enumerate(series):
        one.SeriesDate = one.StudyDate = f"2024010{1 + n // 4}"


def thickness(series: list[Dataset]) -> None:
    series[0].SliceThickness = 2.99


@pytest.mark.parametrize("change", [dated, thickness])
def test_slices_of_one_scan_belong_together(change: Callable, tmp_path: Path) -> None:
    series = slices()
    change(series)
    assert np.array_equal(read_volume(write(tmp_path / "a", series)).numpy()[0], CT)


def test_what_is_no_slice_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write(tmp_path / "a", slices())
    (folder / "._I000.dcm").write_bytes(b"Mac")
    (folder / "DICOMDIR").write_bytes(bytes(132))
    (folder / "readme.txt").write_text("x")
    report = header("1.2.840.10008.5.1.4.1.1.88.11")
    del report.SamplesPerPixel
    write(folder, [report], "report.dcm")
    assert np.array_equal(read_volume(folder).numpy()[0], CT)
    told = [message.split(" is left out")[0].split("/")[-1] for message in caplog.messages]
    assert sorted(told) == ["readme.txt", "report.dcm"]


def test_gantry_tilt_is_a_shear(tmp_path: Path) -> None:
    series = slices()
    for one in series:
        angle = np.radians(15)
        one.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), -float(np.sin(angle))]
    folder = write(tmp_path / "a", series)
    np.testing.assert_allclose(places(folder), [s.ImagePositionPatient for s in series], atol=1e-6)
    down = np.asarray(read_volume(folder).affine)[:3, 1] / 0.7
    np.testing.assert_allclose(down, [0, -np.cos(angle), -np.sin(angle)], atol=1e-6)


def multi_frame(order: list[int]) -> Dataset:
    one = header(EnhancedCTImageStorage)
    one.NumberOfFrames, (one.Columns, one.Rows) = SHAPE[2], SHAPE[:2]
    parts = {"PlaneOrientationSequence": {"ImageOrientationPatient": AXES}}
    parts["PixelMeasuresSequence"] = {"PixelSpacing": [0.7, 0.8], "SliceThickness": 3}
    parts["PixelValueTransformationSequence"] = {"RescaleIntercept": -1024, "RescaleSlope": 1}

    def group(parts: dict) -> Dataset:
        found = Dataset()
        for name, values in parts.items():
            inner = Dataset()
            for key, value in values.items():
                setattr(inner, key, value)
            setattr(found, name, [inner])
        return found

    one.SharedFunctionalGroupsSequence = [group(parts)]
    one.PerFrameFunctionalGroupsSequence = [
        group({"PlanePositionSequence": {"ImagePositionPatient": [5.0, -7.0, -40 + 3.0 * k]}})
        for k in order
    ]
    one.PixelData = stored(CT[:, :, order])
    return one


@pytest.mark.parametrize("order", [list(range(6)), [3, 0, 5, 1, 4, 2]])
def test_frames_of_one_file_are_slices(order: list[int], tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [multi_frame(order)], "all.dcm")
    for path in (folder, folder / "all.dcm"):
        volume = read_volume(path)
        assert np.array_equal(volume.numpy()[0], CT)
        np.testing.assert_allclose(np.asarray(volume.affine)[:3, 3], [-5, 7, -40])


def put(n: int, **values: object) -> Callable[[list[Dataset]], None]:
    """Return the change of slice n."""

    def change(series: list[Dataset]) -> None:
        for key, value in values.items():
            if value is None:
                delattr(series[n], key)
            else:
                setattr(series[n], key, value)

    return change


def moved(*heights: float) -> Callable[[list[Dataset]], None]:
    def change(series: list[Dataset]) -> None:
        for one, z in zip(series, heights, strict=True):
            one.ImagePositionPatient = [5.0, -7.0, z]

    return change


SMALLER = {"Columns": 11, "PixelData": stored(CT[:11, :, 4])}
REFUSED = {
    "localizer": (
        put(4, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "I004.dcm is a localizer",
    ),
    "turned": (put(4, ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), "I004.dcm does not .*Orientat"),
    "spacing": (
        put(4, PixelSpacing=[0.7, 0.9]),
        r"I004.dcm does not .*PixelSpacing are \[0.7, 0.9",
    ),
    "columns": (put(4, **SMALLER), r"I004.dcm does not .*columns are \[10, 11\]"),
    "short": (put(4, PixelData=stored(CT[:, :, 4])[:100]), "I004.dcm cannot .*100 of 240 bytes"),
    "inverted": (put(0, PhotometricInterpretation="MONOCHROME1"), "I000.dcm is in MONOCHROME1"),
    "colour": (put(0, SamplesPerPixel=3, PixelData=bytes(720)), "I000.dcm is in colour"),
    "not rescaled": (put(2, RescaleIntercept=None), "I002.dcm has no usable RescaleIntercept"),
    "nowhere": (put(2, ImagePositionPatient=None), "I002.dcm has no usable ImagePositionPatient"),
    "no pixels": (put(2, PixelData=None), "I002.dcm cannot be read as a DICOM slice .*pixels"),
    "doubled": (moved(0, 3, 6, 6, 9, 12), "I002.dcm and I003.dcm lie on the same position"),
    "gap": (moved(0, 3, 6, 12, 15, 18), r"gap of 6.00 mm after I002.dcm, at 6.0 mm"),
    "denser half": (moved(0, 5, 10, 15, 17.5, 20), "not evenly spaced: .* 2.50 to 5.00 mm"),
    "wider half": (moved(0, 3, 6, 9, 13.2, 17.4), "not evenly spaced: .* 3.00 to 4.20 mm"),
    "aside": (put(3, ImagePositionPatient=[6.0, -7.0, -31.0]), "I003.dcm 1.00 mm from where"),
    "two series": (put(3, SeriesInstanceUID="1.2.9"), "holds 2 DICOM series: 5 files as I000.dcm"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_belong_is_named(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    series = slices()
    change(series)
    with pytest.raises(InputError, match=message):
        read_volume(write(tmp_path / "a", series))


@pytest.mark.parametrize("share", [0, 0.2, 0.9])
@pytest.mark.parametrize("ending", ["", ".dcm"])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_file_that_is_not_whole_is_named(
    place: int, ending: str, share: float, tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", slices(), "I{:03d}" + ending)
    path = folder / f"I{place:03d}{ending}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f"I{place:03d}{ending} cannot be read as a DICOM slice"):
        read_volume(folder)


def test_pixels_that_are_compressed_are_read(tmp_path: Path) -> None:
    pytest.importorskip("pydicom.pixels")
    series = slices()
    for one in series:
        one.compress(pydicom.uid.RLELossless)
    folder = write(tmp_path / "a", series)
    assert np.array_equal(read_volume(folder).numpy()[0], CT)
    (path := folder / "I003.dcm").write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"I003\.dcm"):
        read_volume(folder)
