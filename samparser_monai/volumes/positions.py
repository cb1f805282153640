"""Positions of prompts, in whichever frame they were written, as voxels of a view."""

from typing import Any

import numpy as np

from samparser_monai.errors import InputError
from samparser_monai.volumes.reading import disagreeing_forms
from samparser_monai.volumes.targets import Prompt
from samparser_monai.volumes.view import View


def voxel_box(view: View, prompt: Prompt) -> tuple[list[int], list[int]]:
    """Return the corners of a box in voxels of the view, both included."""
    box = list(prompt["box"])
    if "slice" in prompt:
        box = [*box[:2], prompt["slice"], *box[2:], prompt["slice"]]
    voxels = np.sort(voxels_of(view, prompt, "box", box), axis=0)
    return voxels[0].tolist(), voxels[1].tolist()


def voxels_of(view: View, prompt: Prompt, key: str, positions: Any) -> np.ndarray:
    """Return positions (N, 3) of a prompt in voxels of the view.

    Raises:
        InputError: they leave the volume, or a header does not say where they are in mm.
    """
    given = np.asarray(positions, dtype=float).reshape(-1, 3)
    frame = prompt.get("frame", "voxel")
    if frame == "voxel":
        to_world = np.asarray(view.volume.affine, dtype=float)
    else:  # MONAI's affines lead to RAS
        path = view.path
        if told := disagreeing_forms(path):
            raise InputError(
                f"{path}: {key} in mm (frame {frame!r}) may mean another place: {told}; give "
                "voxels, or correct its header"
            )
        to_world = np.diag([-1.0, -1.0, 1.0, 1.0]) if frame == "LPS" else np.eye(4)
    moved = np.linalg.inv(np.asarray(view.values.affine, dtype=float)) @ to_world
    voxels = np.rint(np.c_[given, np.ones(len(given))] @ moved.T)[:, :3].astype(int)
    if (voxels < 0).any() or (voxels >= view.values.shape[1:]).any():
        raise InputError(
            f"{view.path}: {key}={prompt[key]} of "
            f"{prompt['label']!r} in frame {frame!r} leaves the volume of shape "
            f"{tuple(view.volume.shape[1:])}: {_hint(view, given, frame)}"
        )
    return voxels


def _hint(view: View, given: np.ndarray, frame: str) -> str:
    """Say which other frame the positions fit."""
    to_voxels = np.linalg.inv(np.asarray(view.volume.affine, dtype=float))
    frames = {
        "voxel": np.eye(4),
        "RAS": to_voxels,
        "LPS": to_voxels @ np.diag([-1.0, -1.0, 1.0, 1.0]),
    }
    for name, matrix in frames.items():
        voxels = np.rint((np.c_[given, np.ones(len(given))] @ matrix.T)[:, :3])
        if name != frame and (voxels >= 0).all() and (voxels < view.volume.shape[1:]).all():
            kind = "voxels" if name == "voxel" else "world coordinates"
            return f'looks like {kind}: add "frame": "{name}", or correct it'
    return "correct it, or its frame"
