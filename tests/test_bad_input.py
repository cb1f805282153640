"""Bad input, one row each: one line that names it and the remedy, before anything is written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import make_dataset, run, save_volume

from samparser_monai.errors import InputError, root_cause
from samparser_monai.methods import coefficients
from samparser_monai.sam import build
from samparser_monai.sam.checkpoints import WEIGHTS

Spoil = Callable[[Path], dict | None]
CASE = "case_0.nii.gz"  # the one that validates, by the seed: it is read last
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def with_options(**overrides: object) -> Spoil:
    """Return the row of a bad option."""
    return lambda root: overrides


def changed(name: str, change: Callable[[np.ndarray], np.ndarray], shift: float = 0) -> Spoil:
    """Return the row of a data set where one volume has other values, or lies elsewhere."""

    def spoil(root: Path) -> None:
        path = root / name / CASE
        volume = nib.load(path)
        affine = volume.affine.copy()
        affine[0, 3] += shift
        save_volume(path, change(np.asanyarray(volume.dataobj).copy()), affine)

    return spoil


def small_voxels(root: Path) -> None:
    """Make a volume of 0.05 mm voxels, whose label lies one aside."""
    for name, aside in (("images", 0), ("labels", 1)):
        path = root / name / CASE
        volume = nib.load(path)
        affine = np.diag([0.05, 0.05, 0.05, 1.0])
        affine[0, 3] = 0.05 * aside
        save_volume(path, np.asanyarray(volume.dataobj).copy(), affine)


def cut_to(name: str, share: float) -> Spoil:
    """Return the row of a file of which only the beginning is there."""

    def spoil(root: Path) -> None:
        path = root / name / CASE
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return spoil


def removed(*names: str) -> Spoil:
    """Return the row of a data set where files are missing."""

    def spoil(root: Path) -> None:
        for name in names:
            (root / name).unlink()

    return spoil


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the change of one voxel to a value that only floats have."""

    def change(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        values[3, 4, 5] = value
        return values

    return change


def checkpoint(content: Callable[[Path], None]) -> Spoil:
    """Return the row of a checkpoint file that is written by ``content``."""

    def spoil(root: Path) -> dict:
        content(root.parent / "sam.pt")
        return {"checkpoint": str(root.parent / "sam.pt")}

    return spoil


def of_another_shape(path: Path) -> None:
    weights = build("tiny").state_dict()
    weights["mask_decoder.iou_token.weight"] = torch.zeros(1, 7)
    torch.save(weights, path)


def in_the_cache(root: Path) -> dict:
    """Put a file that is not the published one where that is looked for."""
    (root.parent / "published").mkdir()
    (root.parent / "published" / "mobile_sam.pt").write_bytes(b"not it")
    return {"backbone": "mobile_sam"}


def below_a_file(argument: str) -> Spoil:
    """Return the row of a folder that cannot be made, not even by root."""

    def spoil(root: Path) -> dict:
        (root.parent / "file").touch()
        return {argument: str(root.parent / "file" / "folder")}

    return spoil


def datalist_of_elsewhere(root: Path) -> dict:
    """Name the volumes in a list that lies apart from them."""
    names = [f"case_{n}.nii.gz" for n in range(3)]
    items = [{"image": f"{root}/images/{n}", "label": f"{root}/labels/{n}"} for n in names]
    listing = root.parent / "list" / "data.json"
    listing.parent.mkdir()
    listing.write_text(json.dumps({"training": items}))
    return {"dataset_dir": str(listing), "output_dir": str(root)}


def checkpoint_in_models(root: Path) -> dict:
    path = root.parent / "models" / "model.pt"
    path.parent.mkdir()
    torch.save(build("tiny").state_dict(), path)
    return {"checkpoint": str(path)}


MOBILE_SAM = WEIGHTS["mobile_sam"].sha256

# What can be said without opening a volume is said before one is opened.
BEFORE_READING: dict[str, tuple[Spoil, str]] = {
    "missing dataset_dir": (
        with_options(dataset_dir="/does/not/exist"),
        "dataset_dir='/does/not/exist' does not exist: expected images/",
    ),
    "empty dataset_dir": (
        empty,
        r"dataset_dir='.*/ct' holds no volumes: expected images/",
    ),
    "image without label": (
        removed("labels/case_0.nii.gz"),
        r"images/case_0.nii.gz: image without label \(1 such\): add the label",
    ),
    "label without image": (
        removed("images/case_0.nii.gz"),
        r"labels/case_0.nii.gz: label without image \(1 such\): add the image",
    ),
    "one patient": (
        removed(*(f"{folder}/case_{n}.nii.gz" for folder in ("images", "labels") for n in (1, 2))),
        "only 1 patient in dataset_dir.*needs two; name the volumes",
    ),
    "train_share 1.5": (with_options(train_share=1.5), "train_share must be.*not 1.5"),
    "unknown backbone": (
        with_options(backbone="mobile_sm"),
        "unknown backbone 'mobile_sm'; did you mean 'mobile_sam'",
    ),
    "unknown decoder": (
        with_options(decoder="tunde"),
        "unknown decoder 'tunde'; did you mean 'tuned'.*known: coefficients, frozen, tuned",
    ),
    "unknown step": (
        with_options(step="relativ"),
        "unknown step 'relativ'; did you mean 'relative'",
    ),
    "unknown space": (
        with_options(space="nek"),
        "unknown space 'nek'; did you mean 'neck'",
    ),
    "coefficient_rate 0": (
        with_options(coefficient_rate=0),
        "coefficient_rate must be above 0, not 0",
    ),
    "decoder_rate negative": (
        with_options(decoder_rate=-1e-5),
        "decoder_rate must be above 0, not -1e-05",
    ),
    "missing checkpoint": (
        with_options(checkpoint="/does/not/exist.pth"),
        "checkpoint='/does/not/exist.pth' is not a file: give the path",
    ),
    "checkpoint of another shape": (
        checkpoint(of_another_shape),
        r"sam.pt' is not of backbone='tiny': 1 of its tensors do not fit, the first is "
        r"'mask_decoder.iou_token.weight' with shape \(1, 7\) where \(1, 32\)",
    ),
    "damaged checkpoint": (
        checkpoint(lambda path: path.write_bytes(b"PK damaged")),
        "checkpoint='.*sam.pt' cannot be read.*fetch it again",
    ),
    "checkpoint that is no dictionary": (
        checkpoint(lambda path: torch.save([1, 2], path)),
        "checkpoint='.*sam.pt' does not hold a dictionary of tensors",
    ),
    "weights that are not the published ones": (
        in_the_cache,
        f"mobile_sam.pt is not the published file: sha256 is .*expected {MOBILE_SAM}.*fetch it",
    ),
    "missing weights": (
        with_options(backbone="mobile_sam"),
        f"needs .*/published/mobile_sam.pt, which is not there: run `samparser fetch "
        f"mobile_sam`, or put the file of .*sha256 {MOBILE_SAM}.* by hand",
    ),
    "output_dir below a file": (
        below_a_file("output_dir"),
        r"output_dir='.*/file/folder' cannot be written \(Not a directory\): name another",
    ),
    "ckpt_dir below a file": (
        below_a_file("ckpt_dir"),
        r"ckpt_dir='.*/file/folder' cannot be written \(Not a directory\): name another",
    ),
    "cache_dir below a file": (
        below_a_file("cache_dir"),
        r"cache_dir='.*/file/folder' cannot be written \(Not a directory\): name another",
    ),
    "output_dir is dataset_dir": (
        lambda root: {"output_dir": str(root)},
        r"output_dir='.*/ct' is, holds or lies in dataset_dir='.*/ct', which is read",
    ),
    "ckpt_dir above dataset_dir": (
        lambda root: {"ckpt_dir": str(root.parent)},
        r"ckpt_dir='.*' is, holds or lies in dataset_dir='.*/ct', which is read",
    ),
    "cache_dir in dataset_dir": (
        lambda root: {"cache_dir": str(root / "cache")},
        r"cache_dir='.*/ct/cache/features' is, holds or lies in dataset_dir='.*/ct'",
    ),
    "output_dir holds what a datalist names": (
        datalist_of_elsewhere,
        r"output_dir='.*/ct' is, holds or lies in image \(.*/ct/images\)=.*nii.gz'",
    ),
    "checkpoint that the training would replace": (
        checkpoint_in_models,
        r"checkpoint='.*/models/model.pt' would be replaced by what the training writes",
    ),
    "resume from nothing": (
        with_options(resume=True),
        r"resume=True, but ckpt_dir='.*/models' has no checkpoint_epoch=\*.pt: train without",
    ),
    "epochs 0": (with_options(epochs=0), "epochs must be a whole number of at least 1, not 0"),
    "epochs -3": (with_options(epochs=-3), "epochs must be a whole number of at least 1, not -3"),
    "epochs 2.5": (with_options(epochs=2.5), "epochs must be a whole number .* not 2.5"),
    "val_interval -1": (with_options(val_interval=-1), "val_interval must be .*at least 0, not -1"),
    "patience without validation": (
        with_options(patience=2, val_interval=0),
        "val_interval must be .*at least 1, not 0",
    ),
    "decoder_coefficient_rate 0": (
        with_options(decoder_coefficient_rate=0.0),
        "decoder_coefficient_rate must be above 0, not 0",
    ),
    "amp without a GPU": (with_options(amp=True, device=torch.device("cpu")), "amp=True is for a"),
    "batch_size 0": (with_options(batch_size=0), "batch_size must be .*at least 1, not 0"),
    "patience -1": (with_options(patience=-1), "patience must be .*at least 0, not -1"),
    "min_area -1": (with_options(min_area=-1), "min_area must be .*at least 0, not -1"),
    "min_volume -1": (with_options(min_volume=-1), "min_volume must be .*at least 0, not -1"),
    "box_shift -1": (
        with_options(box_shift=-1),
        "box_shift must be a number of at least 0, not -1",
    ),
    "focal -1": (with_options(focal=-1.0), "focal must be .*at least 0, not -1"),
    "window upside down": (
        with_options(window=[240.0, -160.0]),
        r"window=\[240.0, -160.0\] must be two numbers, the lower one first",
    ),
    "window of one number": (
        with_options(window=[240.0]),
        r"window=\[240.0\] must be two numbers, the lower one first",
    ),
    "labels that are no map": (
        with_options(labels=["liver"]),
        r"labels=\['liver'\] must give each organ its value",
    ),
    "label of the background": (
        with_options(labels={"background": 0, "liver": 1}),
        "labels gives 'background' the value 0: .* 0 is the background, which needs no name",
    ),
    "label of two organs": (
        with_options(labels={"liver": 1, "both": [1, 2]}),
        "labels gives the value 1 to 'liver' and to 'both': .*; correct one of them",
    ),
    "label without values": (
        with_options(labels={"liver": []}),
        "labels gives 'liver' the value None: it must be a whole number from 1 to 255",
    ),
    "label that is no number": (
        with_options(labels={"liver": "one"}),
        "labels gives 'liver' the value 'one': it must be a whole number from 1 to 255",
    ),
}

IN_A_VOLUME: dict[str, tuple[Spoil, str]] = {
    "other shape": (
        changed("labels", lambda v: v[..., :-1]),
        r"labels/case_0.nii.gz has shape \(48, 40, 5\) and .*images/case_0.nii.gz has "
        r"\(48, 40, 6\): .*resample it",
    ),
    "other affine": (
        changed("labels", lambda v: v, shift=5),
        "labels/case_0.nii.gz lies up to 5.00 mm away from .*images/case_0.nii.gz.*resample it",
    ),
    "normalized": (
        changed("images", lambda v: (v - v.mean()) / v.std()),
        r"images/case_0.nii.gz has values from -\d.* expects HU: is it normalized\?",
    ),
    "small voxels": (
        small_voxels,
        r"labels/case_0.nii.gz lies up to 0.05 mm away from .*tolerance 0.01",
    ),
    "4-D": (
        changed("images", lambda v: np.stack([v, v, v], -1)),
        r"images/case_0.nii.gz is not one 3-D volume: .*\(48, 40, 6\) with 3 channels; save each",
    ),
    "2-D": (
        changed("images", lambda v: v[..., 0]),
        r"images/case_0.nii.gz is not one 3-D volume: its shape is \(48, 40\)",
    ),
    "RGB": (
        changed("images", lambda v: np.zeros(v.shape, RGB)),
        "images/case_0.nii.gz cannot be read.*in colour.*replace it",
    ),
    "NaN": (
        changed("images", voxel(np.nan)),
        "images/case_0.nii.gz holds 1 voxels that are NaN or infinite: replace them",
    ),
    "infinite": (
        changed("images", voxel(-np.inf)),
        "images/case_0.nii.gz holds 1 voxels that are NaN or infinite: replace them",
    ),
    "cut image": (cut_to("images", 0.5), "images/case_0.nii.gz cannot be read.*replace it"),
    "cut label": (cut_to("labels", 0.5), "labels/case_0.nii.gz cannot be read.*replace it"),
    "empty file": (cut_to("images", 0), "images/case_0.nii.gz cannot be read.*replace it"),
    "label all zero": (
        changed("labels", np.zeros_like),
        "labels/case_0.nii.gz is all zero: label at least one organ",
    ),
    "label of fractions": (
        changed("labels", lambda v: v * 0.5),
        "labels/case_0.nii.gz holds fractions .*: label volumes have whole numbers",
    ),
    "values that do not occur": (
        with_options(labels={"liver": 77}),
        r"labels/case_\d.nii.gz shows none of labels={'liver': 77}: its values are \[0, 1, 2\]; "
        "give the right ones by --labels",
    ),
    "min_area larger than any organ": (
        with_options(min_area=10**6),
        "no slice of 2 volumes shows an organ .*min_area=1000000",
    ),
}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def one_line(caught: pytest.ExceptionInfo) -> str:
    cause = root_cause(caught.value)  # MONAI wraps it
    assert isinstance(cause, InputError), repr(caught.value)
    assert "\n" not in str(cause)
    return str(cause)


@pytest.mark.parametrize("name", [*BEFORE_READING, *IN_A_VOLUME])
def test_bad_input_is_one_clear_error(
    name: str, overrides: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPARSER_CACHE", str(tmp_path / "published"))
    root = make_dataset(tmp_path / "ct")
    spoil, message = {**BEFORE_READING, **IN_A_VOLUME}[name]
    overrides = {"dataset_dir": str(root), **overrides, **(spoil(root) or {})}
    before = files(tmp_path)
    with pytest.raises(Exception) as caught:
        run("train", "train", run_id="training", **overrides)
    assert re.search(message, one_line(caught))
    written = files(tmp_path) - before
    if name in IN_A_VOLUME:  # volumes that are right may have been cut, no more
        written = {path for path in written if tmp_path / "cache" / "slices" not in path.parents}
    assert not written


def trained(decoder: str) -> Callable[[Path], None]:
    return lambda path: torch.save(coefficients(build("tiny"), decoder=decoder).state_dict(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: None, "model.pt does not exist: train first"),
        (lambda path: path.write_bytes(b"PK damaged"), "model.pt cannot be read.*train again"),
        (lambda path: torch.save([1, 2], path), "model.pt cannot be read.*no model"),
        (trained("coefficients"), "model.pt does not fit this network.*give the backbone, method"),
    ],
)
def test_bad_model_is_refused_before_anything_is_evaluated(
    content: Callable[[Path], None], message: str, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    content(tmp_path / "models" / "model.pt")
    before = files(tmp_path)
    with pytest.raises(Exception) as caught:
        run(
            "train",
            *("train", "evaluate"),
            run_id="evaluating",
            dataset_dir=str(dataset),
            **overrides,
        )
    assert re.search(message, one_line(caught))
    assert files(tmp_path) == before
