"""From the layouts that people have to the same cases, and from volumes to the same slices."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import AFFINES, LABELS, ct, make_dataset, save_volume

from samparser_monai.errors import InputError
from samparser_monai.geometry.components import instances_of
from samparser_monai.volumes import SliceDataset, abdomen_ct_items, slices
from samparser_monai.volumes.layouts import split_by_patient
from samparser_monai.volumes.transforms import LoadSliced

CASES = ["Case_00001", "Case_00002", "Case_00003"]


def save_dicom(folder: Path, values: np.ndarray, series: str = "1") -> Path:
    """Write an array (x, y, z; LPS) as a DICOM series of int16."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(values.shape[2]):
        picture = sitk.GetImageFromArray(np.ascontiguousarray(values[:, :, z].T))
        picture.SetSpacing((0.8, 0.8))
        for tag, value in {
            "0008|0060": "CT",
            "0008|0018": f"1.2.3.{series}.{z + 1}",
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{series}",
            "0020|0013": str(z + 1),
            "0020|0032": f"0\\0\\{3 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": "3",
        }.items():
            picture.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{z}.dcm"))
        writer.Execute(picture)
    return folder


def pairs(root: Path, image: str, label: str) -> Path:
    """Write the cases under these names and return the root."""
    for n, case in enumerate(CASES):
        for name, values in zip((image, label), ct(n), strict=True):
            save_volume(root / name.format(case), values)
    return root


def datalist(root: Path, name: str, train: list[str], validation: list[str]) -> Path:
    """Write a datalist beside folders that it does not name by their layout."""
    pairs(root, "scans/{}.nii.gz", "truth/{}_seg.nii.gz")
    sections = {
        section: [{"image": f"scans/{c}.nii.gz", "label": f"truth/{c}_seg.nii.gz"} for c in cases]
        for section, cases in (("training", train), ("validation", validation))
        if cases
    }
    (root / name).write_text(json.dumps(sections))
    return root / name


def with_dataset_json(root: Path) -> Path:
    """As the Medical Segmentation Decathlon: a test list of bare paths, files of Mac archives."""
    pairs(root, "imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz")
    (root / "imagesTr" / "._Case_00001.nii.gz").write_bytes(b"Mac")
    training = [
        {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in CASES
    ]
    content = {"name": "x", "training": training, "test": ["./imagesTs/a.nii.gz"]}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def with_nnunet_json(root: Path) -> Path:
    """As nnU-Net: its dataset.json describes the data and lists nothing."""
    pairs(root, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz")
    content = {"channel_names": {"0": "CT"}, "numTraining": 3, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def with_dicom(root: Path) -> Path:
    for n, case in enumerate(CASES):
        image, label = ct(n)
        save_dicom(root / "images" / case, image)
        save_volume(root / "labels" / f"{case}.nii.gz", label)
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "images": lambda root: pairs(root, "images/{}.nii.gz", "labels/{}.nii.gz"),
    "images, not compressed": lambda root: pairs(root, "images/{}.nii", "labels/{}.nii"),
    "imagesTr": lambda root: pairs(root, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
    "dataset.json": with_dataset_json,
    "nnU-Net": with_nnunet_json,
    "AbdomenCT-1K": lambda root: pairs(root, "Images1/{}_0000.nii.gz", "Mask/{}.nii.gz"),
    "AbdomenCT-1K, one folder": lambda root: pairs(root, "{}_0000.nii.gz", "{}.nii.gz"),
    "datalist": lambda root: datalist(root, "list.json", CASES, []),
    "datalist with validation": lambda root: datalist(root, "list.json", CASES[1:], CASES[:1]),
    "datalist called dataset.json": lambda root: datalist(root, "dataset.json", CASES, []).parent,
    "DICOM": with_dicom,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_cases(layout: str, tmp_path: Path) -> None:
    found = abdomen_ct_items(LAYOUTS[layout](tmp_path))
    items = found["train"] + found["validation"]
    assert sorted(item["case"] for item in items) == CASES
    assert [len(found[section]) for section in ("train", "validation")] == [2, 1]
    for item in items:
        assert item["case"] in item["image"] and item["case"] in item["label"]
        assert Path(item["image"]).exists() and Path(item["label"]).is_file()
        truth = np.asanyarray(nib.load(item["label"]).dataobj)
        assert np.array_equal(truth, ct(CASES.index(item["case"]))[1])
    if "with validation" in layout:
        assert found["validation"][0]["case"] == CASES[0]


def test_validation_without_labels_is_no_validation(tmp_path: Path) -> None:
    path = datalist(tmp_path, "list.json", CASES[1:], CASES[:1])
    content = json.loads(path.read_text())
    del content["validation"][0]["label"]
    path.write_text(json.dumps(content))
    found = abdomen_ct_items(path)
    assert sorted(i["case"] for i in found["train"] + found["validation"]) == CASES[1:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ('{"training": ["a.nii.gz"]}', "is not a MONAI datalist"),
        ('{"training": []}', "lists no training volumes"),
        ('{"training": [{"image": "scans/Case_00001.nii.gz"}]}', "has no 'label'"),
        ('{"training": [{"image": "x.nii.gz", "label": "y.nii.gz"}]}', "x.nii.gz does not exist"),
    ],
)
def test_bad_datalist_is_one_clear_error(content: str, message: str, tmp_path: Path) -> None:
    path = datalist(tmp_path, "list.json", CASES, [])
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        abdomen_ct_items(path)


def test_two_files_of_one_case_are_refused(tmp_path: Path) -> None:
    root = LAYOUTS["AbdomenCT-1K"](tmp_path)
    shutil.copytree(root / "Mask", root / "Mask of another reader")
    with pytest.raises(InputError, match=r"Mask/Case_00001.*are both case 'Case_00001'"):
        abdomen_ct_items(root)


def test_split_is_by_patient_seeded_and_of_the_share() -> None:
    items = [{"case": f"{p}-{n}", "patient": p} for p in range(50) for n in range(1 + p % 3)]

    def patients(seed: int) -> tuple[set[int], set[int]]:
        split = split_by_patient(items, 0.8, seed)
        assert len(split["train"]) + len(split["validation"]) == len(items)
        return tuple({i["patient"] for i in split[s]} for s in ("train", "validation"))

    train, validation = patients(0)
    assert (len(train), len(validation)) == (40, 10)
    assert not train & validation
    assert patients(0) == (train, validation)
    assert patients(1) != (train, validation)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_each_side_gets_a_patient(share: float) -> None:
    split = split_by_patient([{"patient": "a"}, {"patient": "b"}], share, 0)
    assert [len(side) for side in split.values()] == [1, 1]


def test_datalist_names_the_patients(tmp_path: Path) -> None:
    path = datalist(tmp_path, "list.json", CASES, [])
    content = json.loads(path.read_text())
    for item, patient in zip(content["training"], "aab", strict=True):
        item["patient"] = patient
    path.write_text(json.dumps(content))
    found = abdomen_ct_items(path, share=0.5)
    sides = [{i["patient"] for i in found[section]} for section in ("train", "validation")]
    assert sorted(sides, key=min) == [{"a"}, {"b"}]


def cut(root: Path, item: dict, labels: dict | None = None, **options: int) -> list[dict]:
    """Return the slices of one volume, loaded, by the smallest limits."""
    labels = labels or LABELS
    options = {"min_area": 1, "min_volume": 1, **options}
    transform = LoadSliced(labels)
    return list(SliceDataset([item], transform, labels=labels, cache_dir=root / "cache", **options))


def blocks(root: Path) -> dict:
    """Write a volume with a liver on the last 3 of 6 slices and a growing spleen on all."""
    label = np.zeros((20, 16, 6), np.uint8)
    label[2:8, 2:8, 3:] = 1
    for k in range(6):
        label[12 : 12 + k + 1, 10, k] = 3
    label[0, 0] = 9  # of no organ
    image = save_volume(root / "a.nii.gz", np.arange(label.size).reshape(label.shape) * 1.0)
    return {"image": str(image), "label": str(save_volume(root / "t.nii.gz", label)), "case": "a"}


@pytest.mark.parametrize(
    ("options", "numbers", "organs"),
    [
        ({}, [0, 1, 2, 3, 4, 5], ["liver", "spleen"]),  # the last slice is kept
        ({"min_area": 3}, [2, 3, 4, 5], ["liver", "spleen"]),
        ({"min_area": 36}, [3, 4, 5], ["liver", "spleen"]),
        ({"min_volume": 21}, [0, 1, 2, 3, 4, 5], ["liver", "spleen"]),  # 1 + 2 + .. + 6
        ({"min_volume": 22}, [3, 4, 5], ["liver"]),
    ],
)
def test_slices_and_organs_that_are_kept(
    options: dict, numbers: list[int], organs: list[str], tmp_path: Path
) -> None:
    found = cut(tmp_path, blocks(tmp_path), **options)
    assert [item["slice"] for item in found] == numbers
    for item in found:
        assert item["organs"] == organs
        assert set(np.unique(item["truth"])) <= {0, *(list(LABELS).index(o) + 1 for o in organs)}
        assert item["image"].shape == (1, 16, 20)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="min_area=37 and min_volume=1"):
        cut(tmp_path, blocks(tmp_path), min_area=37)


def test_label_map_may_join_values_and_ignores_the_others(tmp_path: Path) -> None:
    item = blocks(tmp_path)
    (last,) = (i for i in cut(tmp_path, item, {"both": [1, 3]}) if i["slice"] == 5)
    assert (last["truth"] == 1).sum() == 36 + 6
    (last,) = (i for i in cut(tmp_path, item, {"spleen": 3}) if i["slice"] == 5)
    assert (last["truth"] == 1).sum() == 6
    assert set(np.unique(last["truth"])) == {0, 1}


def test_organ_that_no_volume_shows_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut(tmp_path, blocks(tmp_path), {"liver": 1, "gallbladder": 7, "spleen": 3})
    assert caplog.messages[-1] == "labels: gallbladder does not occur in the 1 volumes"


def test_volumes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = blocks(tmp_path)
    first = cut(tmp_path, item)
    monkeypatch.delattr(slices, "read_pair")
    again = cut(tmp_path, item, min_area=3)  # its limits do not need the volumes either
    assert [i["slice"] for i in again] == [i["slice"] for i in first][2:]
    with pytest.raises(NameError):  # other labels do
        cut(tmp_path, item, {"liver": 1})


def test_changed_volume_is_read_again(tmp_path: Path) -> None:
    item = blocks(tmp_path)
    cut(tmp_path, item)
    label = np.asanyarray(nib.load(item["label"]).dataobj).copy()
    label[..., :3] = 0
    save_volume(Path(item["label"]), label)
    assert [i["slice"] for i in cut(tmp_path, item)] == [3, 4, 5]


def stored(root: Path, how: str, values: np.ndarray, name: str) -> Path:
    """Write an array (x, y, z; LPS) in one of the ways in which files store the same anatomy."""
    if how == "RAS":
        affine = AFFINES["RAS"].copy()
        affine[:2, 3] = -0.8 * (np.array(values.shape[:2]) - 1)
        return save_volume(root / name, values[::-1, ::-1], affine)
    if how == "y the other way round":
        affine = AFFINES["LPS"].copy()
        affine[1] = [0, 0.8, 0, -0.8 * (values.shape[1] - 1)]
        return save_volume(root / name, values[:, ::-1], affine)
    if how == "sagittal":
        return save_volume(root / name, values.transpose(1, 2, 0), AFFINES["LPS"][:, [1, 2, 0, 3]])
    if how == "DICOM":
        return save_dicom(root / name.removesuffix(".nii.gz"), values)
    return save_volume(root / name, values)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("RAS", "RAS"),
        ("LPS", "RAS"),
        ("sagittal", "sagittal"),
        ("DICOM", "LPS"),
        ("DICOM", "y the other way round"),
    ],
)
def test_same_anatomy_gives_the_same_slices(image: str, label: str, tmp_path: Path) -> None:
    ours, truth = ct(0)
    wanted, found = (
        cut(
            tmp_path,
            {
                "image": str(stored(tmp_path, one, ours, f"{n}_image.nii.gz")),
                "label": str(stored(tmp_path, other, truth, f"{n}_label.nii.gz")),
            },
        )
        for n, (one, other) in enumerate([("LPS", "LPS"), (image, label)])
    )
    assert len(wanted) == len(found) == truth.shape[2]
    for one, other in zip(wanted, found, strict=True):
        k = one["slice"]
        assert other["slice"] == k
        assert np.array_equal(one["truth"], truth[:, :, k].T)  # organ n is value n here
        assert np.array_equal(one["image"][0], ours[:, :, k].T)
        assert np.array_equal(other["truth"], one["truth"])
        assert np.array_equal(other["image"], one["image"])


def test_folder_of_two_series_is_refused(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, cases=1)
    image, _ = ct(0)
    folder = save_dicom(tmp_path / "dicom", image, "1")
    save_dicom(folder, image, "2")
    with pytest.raises(InputError, match="holds 2 DICOM series"):
        cut(tmp_path, {"image": str(folder), "label": str(root / "labels" / "case_0.nii.gz")})


def test_components_are_numbered_at_the_cut(dataset: Path, tmp_path: Path) -> None:
    labels = {"liver": 1, "kidney": 2}
    items = abdomen_ct_items(dataset)["train"]
    cut = SliceDataset(items, LoadSliced(labels), labels=labels, cache_dir=tmp_path, min_area=20)
    for wanted in (["liver", "kidney"], ["kidney"]):
        item = LoadSliced(labels)({**cut.data[0], "organs": wanted})
        for least in (1, 60):
            by_number = instances_of(item["truth"], least, item["parts"])
            for found, expected in zip(by_number, instances_of(item["truth"], least), strict=True):
                assert np.array_equal(found, expected)
        assert len(by_number[0])
