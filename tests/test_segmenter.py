"""The Python door: what it answers is what batch inference writes, from whatever people hold."""

import json
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import AFFINES, LABELS, ct, make_dataset, move, run
from PIL import Image

from samparser_monai import Segmenter, methods
from samparser_monai.errors import InputError
from samparser_monai.sam import build
from samparser_monai.sam.named_prompts import with_names
from samparser_monai.tuned.part import save_tuned
from samparser_monai.volumes.naming import Naming

BOX = {"label": "liver", "box": [5, 13, 1, 23, 31, 4]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose network was moved, and knows organs by name."""
    folder = tmp_path_factory.mktemp("run") / "models"
    network = methods.coefficients(build("tiny"), decoder="frozen")
    with_names(network, list(LABELS)).named_prompts.tokens.data.fill_(1e-3)
    move(network)
    about = {"scenario": "abdomen_ct", "labels": LABELS, "window": [-160.0, 240.0]}
    save_tuned(folder / "tuned.safetensors", network, about, network.state_dict())
    torch.save(network.state_dict(), folder / "model.pt")
    return folder.parent


def test_answer_is_that_of_batch_inference(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a network that has learned nothing is sure of no organ: without least_best and evidence
    # it answers nevertheless
    unsure = partialmethod(Naming.__init__, evidence=0.0, least_best=0.0)
    monkeypatch.setattr(Naming, "__init__", unsure)
    data = make_dataset(tmp_path / "ct", 1) / "images"
    asked = [BOX, {"label": "kidney"}]
    (tmp_path / "boxes.json").write_text(json.dumps({"case_0": asked}))
    keys = {"dataset_dir": str(data), "prompts": str(tmp_path / "boxes.json")}
    keys |= {"tuned": str(trained / "models" / "tuned.safetensors")}
    run("inference", "inference", run_id="inference", output_dir=str(tmp_path / "out"), **keys)
    batch = nib.load(tmp_path / "out" / "case_0.nii.gz")
    image = data / "case_0.nii.gz"
    values = np.asanyarray(nib.load(image).dataobj)
    for segmenter in map(Segmenter.from_tuned, (trained, trained / "models" / "model.pt")):
        for found in (
            segmenter.segment(image, asked),
            segmenter.segment(nib.load(image), asked),
            segmenter.segment(values, asked, affine=AFFINES["LPS"]),
        ):
            assert np.array_equal(found.labels, np.asanyarray(batch.dataobj))
            assert np.allclose(found.affine, batch.affine)
            assert found.organs == {"liver": 1, "kidney": 2} and found.mask("kidney").any()
    saved = nib.load(found.save(tmp_path / "liver.nii.gz"))
    assert np.array_equal(np.asanyarray(saved.dataobj), found.labels)
    assert found.show().width > 100
    with pytest.raises(InputError, match="is there already"):
        found.save(tmp_path / "liver.nii.gz")


def test_same_file_is_computed_once_and_anew_when_it_has_changed(
    trained: Path, tmp_path: Path
) -> None:
    image = make_dataset(tmp_path / "ct", 1) / "images" / "case_0.nii.gz"
    segmenter = Segmenter.from_tuned(trained)
    first = segmenter.segment(image, [BOX])
    again = segmenter.segment(image, [BOX, {"label": "kidney", "points": [[30, 12, 3]]}])
    assert again.found.view is first.found.view
    nib.save(nib.Nifti1Image(ct(7)[0], AFFINES["LPS"]), image)
    assert segmenter.segment(image, [BOX]).found.view is not first.found.view


def test_organs_by_name_and_published_sam(trained: Path) -> None:
    values, affine = ct(0)[0], AFFINES["RAS"]
    segmenter = Segmenter.from_tuned(trained)
    assert segmenter.names == list(LABELS)
    one = segmenter.segment(values, organs=["spleen"], affine=affine)
    assert list(one.organs) == ["spleen"]
    assert list(segmenter.segment(values, affine=affine).organs) == list(LABELS)
    published = Segmenter.from_published("tiny", labels={"tumour": 5}, window=[-100, 300])
    found = published.segment(values, [{**BOX, "label": "tumour"}], affine=affine)
    assert set(np.unique(found.labels)) <= {0, 5}


def test_picture_by_boxes(trained: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    segmenter = Segmenter.from_tuned(trained)
    boxes = [[4, 4, 20, 16], [30, 12, 60, 40]]
    found = segmenter.segment_picture(tmp_path / "a.png", boxes)
    other = segmenter.segment_picture(Image.fromarray(pixels), boxes)
    assert found.masks.shape == (2, 48, 64) and found.scores.shape == (2,)
    assert np.array_equal(found.masks, other.masks)
    assert found.show().size == (64, 48)
    assert found.labels == ["object"] * 2
    named = segmenter.segment_picture(tmp_path / "a.png", boxes, organs=["liver"])
    assert np.array_equal(named.masks[:2], found.masks)
    assert set(named.labels[2:]) <= {"liver"} and len(named.masks) == len(named.labels)
    published = Segmenter.from_published("tiny")
    with pytest.raises(InputError, match="boxes is empty"):
        published.segment_picture(tmp_path / "a.png")
    assert found.save(tmp_path / "b.png").with_suffix(".json").is_file()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.segment(ct(0)[0], [BOX]), "without an affine"),
        (lambda s: s.segment(ct(0)[0], [BOX], affine=np.zeros((4, 4))), "singular"),
        (lambda s: s.segment("/no.nii.gz", [BOX]), "does not exist"),
        (lambda s: s.segment("a.png", [BOX]), "ask by segment_picture"),
        (lambda s: s.segment("/no.nii.gz", [{"label": "livr", "box": [0] * 6}]), "did you mean"),
        (lambda s: s.segment("/no.nii.gz", organs=["hart"]), "unknown organ in organs"),
        (lambda s: s.segment_picture(np.zeros((8, 8)), [[1, 1, 4, 4]]), "scale it to 0 to 255"),
        (lambda s: s.segment_picture(np.zeros((8, 8, 4), int), [[1, 1, 4, 4]]), "HxWx3"),
        (lambda s: s.segment_picture(np.zeros((8, 8), int), [[4, 4, 1, 1]]), "has no area"),
        (lambda s: s.segment_picture(np.zeros((8, 8), int), organs=["hart"]), "unknown organ in"),
        (lambda s: Segmenter.from_tuned("/"), "has no tuned.safetensors"),
    ],
)
def test_bad_input_is_told(ask: object, message: str, trained: Path) -> None:
    with pytest.raises(InputError, match=message):
        ask(Segmenter.from_tuned(trained))


def test_package_and_help_are_light() -> None:
    code = "import sys, samparser_monai.commands.app as a; c = a.main(['--help']); "
    code += "print([m for m in ('torch', 'monai', 'numpy') if m in sys.modules], c)"
    told = {"capture_output": True, "encoding": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], check=True, **told)
    assert done.stdout.splitlines()[-1] == "[] 0"
