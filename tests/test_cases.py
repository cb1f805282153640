"""Which cases there are, in the folders and datalists that other tools leave."""

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import AFFINES, LABELS, ct, save_volume
from series import save_series

from samparser_monai.errors import InputError
from samparser_monai.volumes import abdomen_ct_items, inference_items
from samparser_monai.volumes.cases import list_volumes
from samparser_monai.volumes.dataset_json import check_labels, labels_in
from samparser_monai.volumes.label_volumes import read_pair
from samparser_monai.volumes.organ_names import same_organ
from samparser_monai.volumes.reading import disagreeing_forms, read_volume
from samparser_monai.volumes.slices import SliceDataset


def by_itk(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(path))
    return path


def cases(
    root: Path, image: str, label: str, names: str = "abc", save: Callable = save_volume
) -> Path:
    for n, name in enumerate(names):
        for pattern, values in zip((image, label), ct(n), strict=True):
            save(root / pattern.format(name), values)
    return root


def found(root: Path) -> dict[str, dict]:
    sides = abdomen_ct_items(root)
    return {item["case"]: item for item in sides["train"] + sides["validation"]}


def listed(root: Path, **changes: object) -> Path:
    """Write a datalist whose entries are changed: name -> value, or function of the case."""
    cases(root, "scans/{}.nii.gz", "truth/{}.nii.gz")
    entries = [
        {"image": f"scans/{c}.nii.gz", "label": f"truth/{c}.nii.gz"}
        | {key: value(c) if callable(value) else value for key, value in changes.items()}
        for c in "abc"
    ]
    (root / "list.json").write_text(json.dumps({"training": entries}))
    return root / "list.json"


def linked(root: Path) -> Path:
    cases(root / "store", "images/{}.nii.gz", "labels/{}.nii.gz")
    for name in ("images", "labels"):
        os.symlink(root / "store" / name, root / name)
    return root


def littered(root: Path) -> Path:
    cases(root, "images/{}.nii.gz", "labels/{}.nii.gz")
    (root / "images" / "@eaDir").mkdir()
    for name in ("Thumbs.db", "._a.nii.gz", ".DS_Store", "notes.txt"):
        (root / "images" / name).write_bytes(b"x")
    return root


def composed(root: Path) -> Path:
    """The images' names as Linux has them, the labels' as a Mac has them."""
    for form, pattern, n in (("NFC", "images/{}.nii.gz", 0), ("NFD", "labels/{}.nii.gz", 1)):
        for case, name in enumerate(("\u00e4", "\u00f6", "\u00fc")):
            save_volume(root / pattern.format(unicodedata.normalize(form, name)), ct(case)[n])
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "upper case": lambda r: cases(r, "Images/{}.nii.gz", "labels/{}.nii"),
    "NRRD": lambda r: cases(r, "imagesTr/{}_0000.nrrd", "labelsTr/{}.nrrd", save=by_itk),
    "MetaImage": lambda r: cases(r, "images/{}.mhd", "labels/{}.mha", save=by_itk),
    "a folder to a file": lambda r: cases(r, "images/{0}.nii/{0}.nii", "labels/{0}.nii/{0}.nii"),
    "a folder to a case": lambda r: cases(r, "{}/ct.nii.gz", "{}/label.nii.gz"),
    "KiTS": lambda r: cases(r, "{}/imaging.nii.gz", "{}/segmentation.nii.gz"),
    "backslashes": lambda r: listed(r, image=lambda c: f"scans\\{c}.nii.gz"),
    "one channel": lambda r: listed(r, image=lambda c: [f"scans/{c}.nii.gz"]),
    "links": linked,
    "litter": littered,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cases_are_found_and_read(layout: str, tmp_path: Path) -> None:
    items = found(LAYOUTS[layout](tmp_path))
    assert sorted(items) == ["a", "b", "c"]
    for n, case in enumerate("abc"):
        image, label = read_pair(items[case]["image"], items[case]["label"])
        assert np.array_equal(image, ct(n)[0]) and np.array_equal(label, ct(n)[1])


def test_names_are_one_in_either_form_of_unicode(tmp_path: Path) -> None:
    assert sorted(found(composed(tmp_path))) == ["\u00e4", "\u00f6", "\u00fc"]


def test_endings_may_be_in_upper_case(tmp_path: Path) -> None:
    cases(tmp_path, "images/{}.nii.gz", "labels/{}.nii.gz")
    for path in list(tmp_path.rglob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert sorted(found(tmp_path)) == ["a", "b", "c"]
    items = list_volumes(tmp_path)
    assert [item["case"] for item in items] == ["a", "b", "c"]
    assert all(item["truth"].endswith(".NII.GZ") for item in items)
    assert np.array_equal(read_volume(items[0]["image"]).numpy()[0], ct(0)[0])


def test_nnunet_lists_files_without_their_channel(tmp_path: Path) -> None:
    path = listed(tmp_path)
    for image in list((tmp_path / "scans").iterdir()):
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    assert sorted(found(path)) == ["a", "b", "c"]


def test_folders_name_what_files_do_not(tmp_path: Path) -> None:
    cases(tmp_path, "s000{}/ct.nii.gz", "s000{}/label.nii.gz", "12")
    assert [(i["case"], Path(i["truth"]).parent.name) for i in list_volumes(tmp_path)] == [
        ("s0001", "s0001"),
        ("s0002", "s0002"),
    ]
    entries = [{"image": f"s000{n}/ct.nii.gz"} for n in (1, 2)]
    (tmp_path / "list.json").write_text(json.dumps({"testing": entries}))
    assert [item["case"] for item in list_volumes(tmp_path / "list.json")] == ["s0001", "s0002"]


@pytest.mark.parametrize("other", ["mask.nii.gz", "label.nii", "segmentations/liver.nii.gz"])
def test_two_labels_of_a_case_are_refused(other: str, tmp_path: Path) -> None:
    cases(tmp_path, "p{}/ct.nii.gz", "p{}/segmentation.nii.gz", "01")
    save_volume(tmp_path / "p0" / other, (ct(0)[0] > -1000).astype(np.uint8))
    for read in (abdomen_ct_items, list_volumes):
        with pytest.raises(InputError, match=r"p0 holds two labels: .*; keep one, or name it in"):
            read(tmp_path)


def test_labels_of_a_folder_go_before_those_beside_the_scans(tmp_path: Path) -> None:
    cases(tmp_path, "images/{}/ct.nii.gz", "labels/{}.nii.gz", "ab")
    for name in ("mask", "seg"):
        save_volume(tmp_path / "images" / "a" / f"{name}.nii.gz", ct(1)[1])
    assert [Path(i["truth"]).parent.name for i in list_volumes(tmp_path)] == ["labels"] * 2
    assert sorted(found(tmp_path)) == ["a", "b"]


def test_a_mask_to_each_organ_is_a_label(tmp_path: Path) -> None:
    for n in range(2):
        image, label = ct(n)
        save_volume(tmp_path / f"s{n}" / "ct.nii.gz", image)
        x = np.indices(label.shape)[0]
        masks = {"liver": label == 1, "aorta": label == 0, "spleen": label == 9}
        masks |= {"kidney_left": (label == 2) & (x < 36), "kidney_right": (label == 2) & (x >= 36)}
        for name, mask in masks.items():
            save_volume(tmp_path / f"s{n}" / "segmentations" / f"{name}.nii.gz", mask.astype("u1"))
    items = found(tmp_path)
    assert sorted(items) == ["s0", "s1"]
    _, values = read_pair(items["s1"]["image"], items["s1"]["label"], LABELS)
    assert np.array_equal(values, ct(1)[1])


def scans(root: Path, *names: str) -> Path:
    """Write a scan to each name: a series for a folder's, one slice's file for *.dcm, a volume."""
    for n, name in enumerate(names):
        path = root / name
        if name.endswith(".nii.gz"):
            save_volume(path, ct(n)[0])
            continue
        save_series(root.parent / f"series_{n}", ct(n)[0])
        files = sorted((root.parent / f"series_{n}").iterdir())
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".dcm"):
            shutil.copy(files[0], path)
        else:
            shutil.copytree(files[0].parent, path, dirs_exist_ok=True)
    return root


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["", "recon2"], "st holds the DICOM scan 0.dcm beside recon2: which of them is meant"),
        (["", "prior.nii.gz"], "st holds the DICOM scan 0.dcm beside prior.nii.gz"),
        (["a.nii.gz", "all.dcm"], "st holds the DICOM scan all.dcm beside a.nii.gz"),
        (["p1", "p1/liver.nii.gz"], "p1 holds the DICOM scan 0.dcm beside liver.nii.gz"),
        (["p1/series", "p1/ct.nii.gz"], "p1 holds the DICOM scan series/0.dcm beside ct.nii.gz"),
        (["images/b.nii.gz", "images/x.dcm"], "images holds the DICOM scan x.dcm beside b.nii.gz"),
        (["images/b.nii.gz", "a.nii.gz"], "st' holds a.nii.gz beside images/, .* give '.*/images'"),
        (["images/b.nii.gz", ""], "st' holds 0.dcm beside images/, and would be read without it"),
    ],
)
def test_no_scan_is_passed_over(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        list_volumes(scans(tmp_path / "st", *names))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([""], ["st"]),
        (["", "labels/st.nii.gz"], ["st"]),
        (["a.nii.gz", "b"], ["a", "b"]),
        (["p1", "p1/label.nii.gz", "p2", "p2/segmentations/liver.nii.gz"], ["p1", "p2"]),
        (["images/a", "images/b.nii.gz", "labels/a.nii.gz", "label.nii.gz"], ["a", "b"]),
    ],
)
def test_what_is_no_scan_may_lie_beside_scans(
    names: list[str], found: list[str], tmp_path: Path
) -> None:
    root = scans(tmp_path / "st", *names)
    save_series(tmp_path / "answer", ct(0)[1])
    answer = pydicom.dcmread(tmp_path / "answer" / "0.dcm")
    answer.Modality = "SEG"
    for folder in {root, *(path for path in root.iterdir() if path.is_dir())}:
        for name in ("notes.txt", "table.csv", "about.json"):
            (folder / name).write_text("x")
        (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
        answer.save_as(folder / "answer.dcm")
    os.symlink(tmp_path / "gone.dcm", root / "lost.dcm")
    assert [item["case"] for item in list_volumes(root)] == found


def organs_masks(root: Path, *more: str) -> Path:
    """Write a scan, and a folder of masks: one to an organ, and more of the whole body."""
    image, label = ct(0)
    save_volume(root / "ct.nii.gz", image)
    left = np.indices(label.shape)[0] < 36
    masks = {"liver": label == 1, "kidney_left": (label == 2) & left}
    masks |= {"kidney_right.seg": (label == 2) & ~left}  # as 3D Slicer calls it
    masks |= dict.fromkeys(more, image > -1000)
    for name, mask in masks.items():
        save_volume(root / "masks" / "ct" / f"{name}.nii.gz", mask.astype(np.uint8))
    return root / "masks" / "ct"


def test_what_is_not_the_organ_does_not_join_it(tmp_path: Path) -> None:
    folder = organs_masks(tmp_path, "liver.tumor", "liver.old")
    _, values = read_pair(tmp_path / "ct.nii.gz", folder, LABELS)
    assert np.array_equal(values, ct(0)[1])


@pytest.mark.parametrize(
    "other", ["Liver", "Leber", "liver.label", "rater2/liver", "l_kidney", "rater2/kidney_r"]
)
def test_two_masks_of_an_organ_are_refused(other: str, tmp_path: Path) -> None:
    folder = organs_masks(tmp_path, other)
    with pytest.raises(InputError, match=rf"\b{other}\.nii.gz.* are both masks of .*: keep one"):
        read_pair(tmp_path / "ct.nii.gz", folder, LABELS)
    with pytest.raises(InputError, match="are both masks of"):
        inference_items(tmp_path / "ct.nii.gz", folder.parent, LABELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": ["scans/a.nii.gz", "scans/b.nii.gz"]}, "must be the path of one volume"),
        ({"label": None}, "has no 'label'"),
        ({"image": 7}, "image=7 must be the path of one volume"),
        ({"case": "same"}, "are both case 'same' of 'training'"),
        ({"case": "../out"}, "case '../out' cannot be the name of a file"),
        ({"image": "scans/x.nii.gz"}, "scans/x.nii.gz"),
    ],
)
def test_entries_that_cannot_be_used_are_one_line(
    changes: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        abdomen_ct_items(listed(tmp_path, **changes))


def test_numbers_are_names(tmp_path: Path) -> None:
    path = listed(tmp_path, case="abc".index, patient=lambda c: 7 if c == "c" else 8)
    assert sorted(found(path)) == ["0", "1", "2"]


def test_patients_stay_together_by_their_names(tmp_path: Path) -> None:
    cases(tmp_path, "images/{}.nii.gz", "labels/{}.nii.gz", ["p1_a", "p1_b", "p2_a", "p2_b"])
    sides = abdomen_ct_items(tmp_path, share=0.5, patient_pattern=r"^(p\d)_")
    patients = [[item["patient"] for item in side] for side in sides.values()]
    assert sorted(patients) == [["p1", "p1"], ["p2", "p2"]]
    with pytest.raises(InputError, match="does not occur in case 'p1_a'"):
        abdomen_ct_items(tmp_path, patient_pattern=r"^q\d")


@pytest.mark.parametrize("named", [False, True])
def test_cases_of_one_label_are_one_patient(named: bool, tmp_path: Path) -> None:
    for phase in ("arterial", "venous"):
        cases(tmp_path, f"p{{0}}/p{{0}}_{phase}.nii.gz", "p{}/label.nii.gz", "0123")
    root = tmp_path
    if named:  # one of a patient's cases has its name in a datalist
        entries = [
            {"image": f"p{n}/p{n}_{phase}.nii.gz", "label": f"p{n}/label.nii.gz"}
            | ({"patient": n} if phase == "venous" else {})
            for n in range(4)
            for phase in ("arterial", "venous")
        ]
        root = tmp_path / "list.json"
        root.write_text(json.dumps({"training": entries}))
    for seed in range(5):
        sides = abdomen_ct_items(root, share=0.5, seed=seed)
        train, validation = ({item["label"] for item in side} for side in sides.values())
        assert len(train) == len(validation) == 2 and not train & validation
        assert all(len(side) == 4 for side in sides.values())
    if not named:
        with pytest.raises(InputError, match=r"the label .*label.nii.gz is in training .*patient"):
            for seed in range(5):  # a pattern that takes the phases for patients
                abdomen_ct_items(root, share=0.5, seed=seed, patient_pattern=".+")


@pytest.mark.parametrize("what", ["file", "link", "patient", "label", "link to the label"])
def test_nothing_is_on_both_sides(what: str, tmp_path: Path) -> None:
    path = listed(tmp_path)
    train = json.loads(path.read_text())["training"]
    held = dict(train.pop(), case="other")
    if what == "patient":
        train[0]["patient"] = held["patient"] = "p"
    elif what == "label":
        held["label"] = train[0]["label"]
    elif what == "link to the label":
        os.symlink(tmp_path / "truth" / "a.nii.gz", tmp_path / "truth" / "z.nii.gz")
        held["label"] = "truth/z.nii.gz"
    else:
        held["image"] = train[0]["image"]
    if what == "link":
        os.symlink(tmp_path / "scans" / "a.nii.gz", tmp_path / "scans" / "z.nii.gz")
        held["image"] = "scans/z.nii.gz"
    path.write_text(json.dumps({"training": train, "validation": [held]}))
    told = {"link": "file", "link to the label": "label"}.get(what, what)
    with pytest.raises(InputError, match=rf"the {told} .* is in training"):
        abdomen_ct_items(path)


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    cases(tmp_path, "images/{}.nii.gz", "labels/{}.nii.gz")
    (lost := next((tmp_path / "images").iterdir())).unlink()
    lost.symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(InputError, match=r"is a link to .*gone.nii.gz, which is not there"):
        abdomen_ct_items(tmp_path)


MSD = {"0": "background", "1": "liver", "2": "Kidney_R", "3": "left kidney", "4": "liver tumor"}
NNUNET = {"background": 0, "kidney (R)": 2, "kidneyLeft": 3, "Liver": 1, "cancer": 4}


@pytest.mark.parametrize("named", [MSD, NNUNET])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"liver": 1, "kidney": [2, 3]}, None),
        ({"liver": [1, 4], "kidney": [2, 3]}, None),
        ({"liver": 1, "right kidney": 2, "left kidney": 3}, None),
        ({"all": [1, 2, 3]}, None),
        ({"liver": 1, "pancreas": 9}, None),
        ({"liver": 2}, "gives 'liver' the value 2, which is .*give --labels \"{'liver': 1}\""),
        ({"kidney": 2}, "leaves out the value 3, .*give --labels \"{'kidney': .2, 3.}\""),
        ({"spleen": 1}, "gives 'spleen' the value 1, which is .iver"),
        ({"left kidney": 2}, "gives 'left kidney' the value 2"),
        ({"liver": 1, "pancreas": 4}, "gives 'pancreas' the value 4"),
    ],
)
def test_names_in_the_data_set_are_compared(labels: dict, message: str | None, named: dict) -> None:
    if message is None:
        return check_labels({"labels": named}, labels, Path("dataset.json"))
    message = message.replace("which is .iver", "which is '[lL]iver")
    with pytest.raises(InputError, match=message):
        check_labels({"labels": named}, labels, Path("dataset.json"))


SHIPPED = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, SHIPPED),
        ({"training": []}, SHIPPED),
        ({"labels": {"0": "background", "1": "spleen"}}, {"spleen": 1}),
        ({"labels": {"background": 0, "liver": 1, "tumour": 2}}, {"liver": 1}),
        (
            {"labels": {"1": "spleen", "2": "right kidney", "3": "left kidney", "6": "liver"}},
            {"liver": 6, "kidney": [2, 3], "spleen": 1},
        ),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_values_are_those_of_the_data_set(
    content: dict | None, found: dict, as_file: bool, tmp_path: Path
) -> None:
    file = tmp_path / "dataset.json"
    if content is not None:
        file.write_text(json.dumps(content))
    assert labels_in(file if as_file else tmp_path, SHIPPED) == found


def test_data_set_of_other_organs_is_told(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "lung"}}))
    with pytest.raises(InputError, match=r"names lung, and none of .*--labels \"{'lung': 1}\""):
        labels_in(tmp_path, SHIPPED)


def test_names_are_compared_before_training_and_before_scoring(tmp_path: Path) -> None:
    cases(tmp_path, "imagesTr/{}.nii.gz", "labelsTr/{}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "air", "1": "spleen"}}))
    for read in (
        lambda: abdomen_ct_items(tmp_path, labels=LABELS),
        lambda: list_volumes(tmp_path, LABELS),
    ):
        with pytest.raises(InputError, match="gives 'liver' the value 1, which is 'spleen'"):
            read()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("kidney", "Kidneys", True),
        ("kidney", "R. Kidney", True),
        ("left kidney", "kidney_l", True),
        ("left kidney", "kidney", False),
        ("gallbladder", "gall_bladder", True),
        ("liver", "liver vessel", False),
        ("spleen", "liver", False),
        ("left kidney", "both kidneys", False),
        ("kidney", "kidneys L + R", True),
        ("inferior vena cava", "IVC", True),
        ("adrenal gland", "suprarenal glands", True),
        ("Leber", "hepatic", True),
        ("?", "left", False),
    ],
)
def test_spellings_of_organs(one: str, other: str, same: bool) -> None:
    assert same_organ(one, other) is same


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v + 1024, "none below 0"),
        (lambda v: (v - v.min()) * 9, "none below 0"),  # as MR
        (lambda v: v * 1.0, None),
    ],
)
def test_training_tells_of_values_that_are_no_hu(
    change: Callable, told: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, label = ct(0)
    item = {
        "image": str(save_volume(tmp_path / "i.nii.gz", change(image.astype(np.float32)))),
        "label": str(save_volume(tmp_path / "l.nii.gz", label)),
    }
    for _ in range(2):  # also when the slices are cut already
        caplog.clear()
        SliceDataset([item], labels={"liver": 1}, cache_dir=tmp_path, window=(-160, 240))
        assert [told in message for message in caplog.messages] == [True] * (told is not None)


def with_forms(path: Path, qform: tuple | None, sform: tuple | None) -> Path:
    import nibabel as nib

    image = nib.Nifti1Image(ct(0)[0], AFFINES["LPS"])
    image.set_qform(*(qform or (None, 0)))
    image.set_sform(*(sform or (None, 0)))
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("qform", "sform", "told"),
    [
        (("LPS", 1), ("LPS", 1), None),
        (("LPS", 1), None, None),
        (None, ("LPS", 2), None),
        (("RAS", 1), ("LPS", 2), "lie up to"),
        (("LPS", 1), ("RAS", 1), "lie up to"),
        (None, None, "neither sform nor qform"),
    ],
)
def test_forms_that_disagree_are_told(
    qform: tuple | None, sform: tuple | None, told: str | None, tmp_path: Path
) -> None:
    forms = [form and (AFFINES[form[0]], form[1]) for form in (qform, sform)]
    path = with_forms(tmp_path / "a.nii.gz", *forms)
    assert np.array_equal(read_volume(path).numpy()[0], ct(0)[0])
    found = disagreeing_forms(path)
    assert (found is None) if told is None else told in found


@pytest.mark.parametrize("unit", ["meter", "micron", "mm", "unknown"])
def test_places_are_in_millimetres(unit: str, tmp_path: Path) -> None:
    image = nib.Nifti1Image(ct(0)[0], AFFINES["LPS"])
    image.header.set_xyzt_units(unit)
    nib.save(image, path := tmp_path / "a.nii.gz")
    if unit in ("meter", "micron"):
        with pytest.raises(InputError, match=f"a.nii.gz gives its places in {unit}s.*save it in"):
            read_volume(path)
        other = tmp_path / "b.nii.gz"
        sitk.WriteImage(sitk.ReadImage(str(path)), str(other))  # as the message says
        scale = {"meter": 1e3, "micron": 1e-3}[unit]
        wanted = AFFINES["LPS"] * [[scale], [scale], [scale], [1]]
        assert np.allclose(read_volume(other).affine, wanted, rtol=1e-5)
    else:
        assert np.allclose(read_volume(path).affine, AFFINES["LPS"], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, 0.0])
@pytest.mark.parametrize("key", ["srow_x", "pixdim"])
def test_headers_without_a_place_are_one_line(key: str, value: float, tmp_path: Path) -> None:
    form = (AFFINES["LPS"], 1)
    path = with_forms(tmp_path / "a.nii", form, form if key == "srow_x" else None)
    raw = np.fromfile(path, np.uint8)
    at, count = {"srow_x": (280, 4), "pixdim": (80, 1)}[key]
    raw[at : at + 4 * count] = np.full(count, value, "<f4").view(np.uint8)
    raw.tofile(path)
    with pytest.raises(InputError, match=r"(has NaN or is singular|gives no spacing): correct"):
        read_volume(path)
