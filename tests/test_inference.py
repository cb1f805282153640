"""From volumes and boxes to label volumes, on exactly the source's grid."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import LABELS, ct, run, save_volume, workflow
from torch import nn

from samparser_monai.errors import InputError, root_cause
from samparser_monai.sam import build
from samparser_monai.volumes.positions import voxel_box
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.view import View

ROTATION = np.array([[0.98, -0.17, 0.05], [0.17, 0.98, 0.03], [-0.054, -0.02, 0.998]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr(ROTATION)[0] @ np.diag([-0.8, -0.8, 3.0])
OBLIQUE[:3, 3] = (-100, 40, 7)
PERMUTED = np.array([[0, 0, 2.0, 5], [-0.7, 0, 0, 6], [0, 0.7, 0, 7], [0, 0, 0, 1]])
AFFINES = {
    "LPS": np.diag([-0.8, -0.8, 3.0, 1.0]),
    "RAS": np.diag([0.8, 0.8, 3.0, 1.0]),
    "LAS": np.diag([-0.8, 0.8, -3.0, 1.0]),
    "oblique": OBLIQUE,
    "permuted": PERMUTED,
}


class Echo(nn.Module):
    """A "network" that fills each of its boxes, so that a mask comes back as its boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return image

    embed = features

    def decode(
        self, image: torch.Tensor, boxes: list[torch.Tensor], *_: None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = torch.meshgrid(*[torch.arange(image.shape[-1]) + 0.5] * 2, indexing="ij")
        scale = image.shape[-1] / 64  # the longest side below: pixel n covers n to n + 1
        masks = [
            (x > x0) & (x < x1 + scale) & (y > y0) & (y < y1 + scale)
            for x0, y0, x1, y1 in torch.cat([*boxes]).tolist()
        ]
        return torch.stack(masks)[:, None] * 20.0 - 10.0, torch.ones(len(masks), 1)


def boxed_volume(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume and labels that are boxes on every axis, nothing symmetric."""
    label = np.zeros((64, 64, 64), np.uint8)
    label[5:20, 8:30, 3:40] = 1
    label[30:50, 11:19, 20:60] = 2
    return ct(0, label.shape)[0], label


def infer(root: Path, prompts: Path, **options: str) -> None:
    """Run inference over ``root/in`` with a network that answers with its boxes."""
    torch.save(Echo().state_dict(), root / "echo.pt")
    run(
        "infer",
        "inference",
        run_id="inference",
        bundle_root=str(root),
        backbone="tiny",
        network_def=Echo(),
        model_file=str(root / "echo.pt"),
        dataset_dir=str(root / "in"),
        prompts=str(prompts),
        **options,
    )


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("by", ["mask", "box"])
def test_prediction_lies_exactly_on_the_source(
    name: str, by: str, tmp_path: Path, overrides: dict
) -> None:
    image, label = boxed_volume(AFFINES[name])
    source = save_volume(tmp_path / "in" / "c.nii.gz", image, AFFINES[name])
    if by == "mask":
        save_volume(tmp_path / "coarse" / "c.nii.gz", label, AFFINES[name])
        prompts = tmp_path / "coarse"
    else:
        found = [(n, np.argwhere(label == n)) for n in (1, 2)]
        boxes = [
            {"label": list(LABELS)[n - 1], "box": [*w.min(0).tolist(), *w.max(0).tolist()]}
            for n, w in found
        ]
        prompts = tmp_path / "boxes.json"
        prompts.write_text(json.dumps({"c": boxes}))
    infer(tmp_path, prompts, output_dir=str(tmp_path / "out"))
    written = nib.load(tmp_path / "out" / "c.nii.gz")
    wrong = np.argwhere(np.asanyarray(written.dataobj) != label)
    assert not len(wrong), (len(wrong), wrong.min(0), wrong.max(0))
    assert np.array_equal(written.affine, nib.load(source).affine)
    assert written.get_data_dtype() == np.uint8
    one, other = (sitk.ReadImage(str(p)) for p in (source, tmp_path / "out" / "c.nii.gz"))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(one, get)() == getattr(other, get)()


@pytest.mark.parametrize("frame", ["RAS", "LPS"])
def test_world_box_is_the_voxel_box(frame: str, tmp_path: Path) -> None:
    image, _ = boxed_volume(OBLIQUE)
    path = save_volume(tmp_path / "c.nii.gz", image, OBLIQUE)
    view = View(read_volume(path), "axial")
    corners = np.array([[5, 8, 3, 1], [19, 29, 39, 1]]).T
    world = (OBLIQUE @ corners)[:3]
    if frame == "LPS":
        world[:2] *= -1
    wanted = voxel_box(view, {"label": "liver", "box": [5, 8, 3, 19, 29, 39]})
    box = world.T.ravel().tolist()
    assert voxel_box(view, {"label": "liver", "box": box, "frame": frame}) == wanted


def test_inference_properties_and_tiny_network(tmp_path: Path, overrides: dict) -> None:
    image, label = ct(0)
    save_volume(tmp_path / "in" / "a_0000.nii.gz", image)
    save_volume(tmp_path / "coarse" / "a.nii.gz", label)
    flow = workflow("train", "train", **overrides, dataset_dir=str(tmp_path))
    flow.initialize()
    network = flow.parser.get_parsed_content("network_def")
    assert network.base_sha256 == build("tiny").base_sha256
    (tmp_path / "models").mkdir()
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    options = {
        "bundle_root": str(tmp_path),
        "backbone": "tiny",
        "dataset_dir": str(tmp_path / "in"),
        "prompts": str(tmp_path / "coarse"),
    }
    flow = workflow("infer", "inference", **options)
    flow.initialize()
    assert not flow.check_properties()
    flow = run("infer", "inference", run_id="inference", **options)
    assert (tmp_path / "eval" / "predictions" / "a.nii.gz").exists()


BAD_PROMPTS = [
    ({"a": [{"label": "liver", "box": [0, 0, 0, 9, 9, 5]}], "b": []}, "'b'.*known: a"),
    ({"a": []}, "1 of 1 cases failed, the first is 'a': .* has no prompt"),
    ({"a": [{"label": "liver"}]}, "needs either 'box', 'points' or 'mask'"),
    ({"a": [{"label": "liver", "points": [[1, 2]]}]}, r"must be a list of \[i, j, k\]"),
    ({"a": [{"label": "liver", "points": [[1, 2, 3]], "point_labels": []}]}, "of the 1 points"),
    ({"a": [{"label": "liver", "box": [-30, -30, 1, -1, -1, 9]}]}, 'add "frame": "RAS"'),
    ({"a": [{"label": "livr", "box": [0] * 6}]}, "did you mean 'liver'"),
    ({"a": [{"label": "liver", "box": [1, 2, 3]}]}, "must be 6 numbers"),
    ({"a": [{"label": "liver", "box": [1, 2, 3, 4], "slice": 0, "frame": "RAS"}]}, "in voxels"),
    ({"a": [{"label": "liver", "box": [9, 0, 0, 1, 5, 5]}]}, "inverted along axis 0"),
    ({"a": [{"label": "liver", "box": [5, 0, 0, 5, 5, 5]}]}, "across the slices"),
    ({"a": [{"label": "liver", "box": [5, 0, 0, 5, 0, 5]}]}, "has no area"),
    ({"a": [{"label": "liver", "box": [0, 0, 0, 99, 5, 5]}]}, "leaves the volume"),
    ({"a": [{"mask": "none.nii.gz"}]}, "mask .*none.nii.gz.* does not exist"),
    ({"a": [{"lable": "liver", "box": [0] * 6}]}, "unknown key in .*did you mean 'label'"),
    ({"a": {"label": "liver"}}, "must hold a list"),
]


@pytest.mark.parametrize(("prompts", "message"), BAD_PROMPTS)
def test_bad_prompt_is_one_clear_error(
    prompts: dict, message: str, tmp_path: Path, overrides: dict
) -> None:
    save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    with pytest.raises(Exception) as caught:
        infer(tmp_path, tmp_path / "p.json")
    cause = root_cause(caught.value)  # MONAI wraps it
    assert isinstance(cause, InputError)
    assert "\n" not in str(cause)
    assert re.search(message, str(cause))
    assert not (tmp_path / "eval" / "predictions" / "a.nii.gz").exists() or "b" in prompts
