"""A label volume from a CT volume and box prompts, on exactly the source's grid."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Transform
from torch import Tensor

from samparser_monai.data.labels import Labels, organ_values
from samparser_monai.data.volumes import check_same_grid, read_oriented
from samparser_monai.errors import InputError, writable
from samparser_monai.prompts import boxes_of, frame_scale, from_frame, instances_of, into_frame
from samparser_monai.sam import Backbone, SamNetwork

SliceBoxes = dict[int, list[tuple[int, np.ndarray]]]
"""Slice number -> (organ's place in the labels, from 1; its box, XYXY in pixels)."""


class BoxPromptInferer(Inferer):
    """Segment a volume slice by slice from box prompts.

    The trunk runs once on each slice that has a prompt, however many organs ask. Where organs
    overlap, the larger logit wins.

    Args:
        frame: the backbone, which knows the model's frame.
        labels: organ -> its value, or values of which the first is written.
    """

    def __init__(self, frame: Backbone, labels: Labels) -> None:
        self.frame = frame
        self.labels = organ_values(labels)
        self.mean = torch.tensor(frame.mean).view(3, 1, 1)
        self.std = torch.tensor(frame.std).view(3, 1, 1)

    def __call__(
        self, inputs: MetaTensor, network: SamNetwork, prompts: Sequence[Any], **_: Any
    ) -> Tensor:
        """Return label volumes Bx1xXxYxZ for windowed volumes (0 to 255) along the axes LPS."""
        labelled = torch.zeros_like(inputs, dtype=torch.uint8, device="cpu")  # keeps the geometry
        for volume, label, asked in zip(inputs, labelled, prompts, strict=True):
            for k, boxes in self.slice_boxes(volume, asked).items():
                label[0, :, :, k] = self.segment(volume[0, :, :, k].T, boxes, network).T
        return labelled

    def segment(
        self, picture: Tensor, boxes: list[tuple[int, np.ndarray]], network: SamNetwork
    ) -> Tensor:
        """Return the organs' values on one picture, HxW."""
        size, device = tuple(picture.shape), next(network.parameters()).device
        image = (torch.as_tensor(picture).expand(3, *size) - self.mean) / self.std
        image = into_frame(image, self.frame.image_size)[None].to(device)
        scale, _ = frame_scale(size, self.frame.image_size)
        logits = network(image, [torch.from_numpy(np.stack([box for _, box in boxes])) * scale])
        best, chosen = from_frame(logits, size, self.frame.image_size)[:, 0].max(0)
        firsts = [values[0] for values in self.labels.values()]
        values = torch.tensor([firsts[organ - 1] for organ, _ in boxes], dtype=torch.uint8)
        return torch.where(best.cpu() > 0, values[chosen.cpu()], 0).to(torch.uint8)

    def slice_boxes(self, volume: MetaTensor, prompts: Sequence[Mapping[str, Any]]) -> SliceBoxes:
        """Return the boxes on each slice of a volume (1xXxYxZ, LPS) that prompts ask for."""
        found: SliceBoxes = defaultdict(list)
        names = list(self.labels)
        for prompt in prompts:
            if "mask" in prompt:
                self._add_mask(found, volume, prompt)
                continue
            low, high = voxel_box(volume, prompt)
            box = np.array([*low[:2], *high[:2]], dtype=np.float32)
            for k in range(low[2], high[2] + 1):
                found[k].append((names.index(prompt["label"]) + 1, box))
        return found

    def _add_mask(self, found: SliceBoxes, volume: MetaTensor, prompt: Mapping[str, Any]) -> None:
        mask = read_oriented(prompt["mask"])
        check_same_grid(volume, mask, volume.meta["filename_or_obj"], prompt["mask"])
        for place, (name, values) in enumerate(self.labels.items(), start=1):
            if prompt.get("label", name) != name:
                continue
            organ = np.isin(mask.numpy()[0], values)
            for k in np.flatnonzero(organ.any((0, 1))):
                _, masks = instances_of(organ[:, :, k].T, min_area=1)
                found[int(k)] += [(place, box) for box in boxes_of(masks)]


def voxel_box(
    volume: MetaTensor, prompt: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the corners of a prompt's box in voxels of a reoriented volume, both included.

    Raises:
        InputError: the box lies outside the volume, wholly or in part.
    """
    box = np.asarray(prompt["box"], dtype=float)
    if "slice" in prompt:
        box = np.array([*box[:2], prompt["slice"], *box[2:], prompt["slice"]], dtype=float)
    corners = np.c_[box.reshape(2, 3), [1, 1]].T
    frame = prompt.get("frame", "voxel")
    if frame == "voxel":  # of the file's own array
        to_world = np.asarray(volume.meta["original_affine"], dtype=float)
    else:  # MONAI's affines lead to RAS
        to_world = np.diag([-1.0, -1.0, 1.0, 1.0]) if frame == "LPS" else np.eye(4)
    moved = np.linalg.inv(np.asarray(volume.affine, dtype=float)) @ to_world @ corners
    voxels = np.rint(np.sort(moved[:3], axis=1)).astype(int)
    for axis, side in enumerate(volume.shape[1:]):
        if voxels[axis, 0] < 0 or voxels[axis, 1] >= side:
            raise InputError(
                f"{volume.meta['filename_or_obj']}: box={prompt['box']} of {prompt['label']!r} in "
                f"frame {frame!r} leaves the volume, whose shape is {tuple(volume.shape[1:])} "
                "along left, posterior, superior: correct the box or its frame"
            )
    return tuple(voxels[:, 0].tolist()), tuple(voxels[:, 1].tolist())


class SaveLabeld(Transform):
    """Write the label volume ``pred`` of an item in the geometry of its source file.

    Args:
        output_dir: for <case>.nii.gz; each is written to a temporary name, then renamed.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = writable("output_dir", output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the item's label volume."""
        source = Path(data["image"].meta["filename_or_obj"])
        values = data["pred"].cpu().numpy()[0].astype(np.uint8)
        if source.is_file():
            like = nib.load(source)
            header = like.header.copy()
            header.set_data_dtype(np.uint8)
            header.set_slope_inter(1, 0)
            label = nib.Nifti1Image(values.reshape(like.shape), like.affine, header)
        else:
            label = nib.Nifti1Image(values, data["image"].meta["original_affine"])
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".nii.gz", prefix=".part")
        os.close(handle)
        try:
            nib.save(label, temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.folder / f"{data['case']}.nii.gz")
        finally:
            Path(temporary).unlink(missing_ok=True)
        return dict(data)
