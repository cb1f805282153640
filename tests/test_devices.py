"""The whole road of inference on another device: no two devices mix, the answer is the CPU's."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import ct, run, save_volume
from devices import DEVICE, Device
from PIL import Image

from samparser_monai import methods
from samparser_monai.sam import build
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.session import PROMPTS_AT_ONCE, TRUNK_AT_ONCE

BOX = {"label": "liver", "box": [4, 12, 0, 24, 32, 5]}
CLICKS = {"label": "liver", "points": [[14, 22, 2], [40, 5, 3]], "point_labels": [1, 0]}


def test_the_double_refuses_what_a_gpu_refuses() -> None:
    with Device():
        there = torch.ones(2, 3).to(DEVICE)
        assert (there + 1).device == DEVICE
        assert (there + torch.tensor(1)).sum().item() == 12
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()


@pytest.fixture
def volumes(tmp_path: Path) -> dict:
    image, label = ct(0)
    save_volume(tmp_path / "in" / "images" / "a.nii.gz", image)
    save_volume(tmp_path / "in" / "labels" / "a.nii.gz", label)
    (tmp_path / "p.json").write_text(json.dumps({"a": [BOX, CLICKS]}))
    torch.save(methods.coefficients(build("tiny")).state_dict(), tmp_path / "model.pt")
    return {
        "bundle_root": str(tmp_path),
        "backbone": "tiny",
        "dataset_dir": str(tmp_path / "in"),
        "prompts": str(tmp_path / "p.json"),
        "model_file": str(tmp_path / "model.pt"),
        "propagate": Propagation(starts=1, evidence=0.0),  # an untrained network has none
    }


def test_volumes_on_another_device(
    volumes: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sizes, there in ((TRUNK_AT_ONCE, 8), (PROMPTS_AT_ONCE, 64)):
        monkeypatch.setitem(sizes, "cpu", there)  # sums in one order
    names = "inference", "evaluate_volumes"
    run("infer", *names, run_id="evaluating", **volumes, output_dir=str(tmp_path / "cpu"))
    with Device():
        out = {"output_dir": str(tmp_path / "there"), "device": DEVICE}
        run("infer", *names, run_id="evaluating", **volumes, **out)
    one, other = (nib.load(tmp_path / where / "a.nii.gz").get_fdata() for where in ("cpu", "there"))
    assert one.any()
    assert (one != other).mean() < 1e-3  # features are rounded to float16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_volumes_on_a_gpu(volumes: dict, tmp_path: Path) -> None:
    names = "inference", "evaluate_volumes"
    run("infer", *names, run_id="evaluating", **volumes, output_dir=str(tmp_path / "gpu"))
    assert nib.load(tmp_path / "gpu" / "a.nii.gz").get_fdata().any()


def test_pictures_on_another_device(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    boxes = {"a": [{"box": [5, 5, 30, 40]}, {"box": [50, 20, 70, 50]}]}
    (tmp_path / "p.json").write_text(json.dumps(boxes))
    torch.save(methods.coefficients(build("tiny")).state_dict(), tmp_path / "model.pt")
    with Device():
        run(
            "infer",
            "inference_pictures",
            run_id="inference_pictures",
            bundle_root=str(tmp_path),
            backbone="tiny",
            dataset_dir=str(tmp_path / "in"),
            prompts=str(tmp_path / "p.json"),
            model_file=str(tmp_path / "model.pt"),
            output_dir=str(tmp_path / "out"),
            tile=48,
            device=DEVICE,
        )
    assert len(json.loads((tmp_path / "out" / "a.json").read_text())["instances"]) == 2
