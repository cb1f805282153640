"""What was found in a picture, for a notebook."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from samparser_monai.errors import InputError
from samparser_monai.pictures.saving import SaveInstances

COLORS = ("#e41a1c", "#377eb8", "#4daf4a", "#984ea3", "#ff7f00", "#ffd92f", "#a65628", "#f781bf")


class SegmentedPicture:
    """The objects that boxes or names have asked for.

    Attributes:
        picture: HxWx3, uint8.
        labels: N, of the objects.
        boxes: Nx4, XYXY in pixels.
        scores: N, the IoU that SAM expects of each.
    """

    def __init__(
        self,
        picture: np.ndarray,
        prompts: Sequence[Mapping[str, Any]],
        found: Sequence[Mapping[str, Any]],
    ) -> None:
        self.picture, self._prompts, self._found = picture, prompts, found
        self.labels = [str(prompt["label"]) for prompt in prompts]
        corners = [prompt["box"] for prompt in prompts]
        self.boxes = np.asarray(corners, dtype=np.float32).reshape(-1, 4)
        self.scores = np.asarray([one["score"] for one in found], dtype=np.float32)

    @cached_property
    def masks(self) -> np.ndarray:
        """NxHxW, bool."""
        found = [coco.decode(one["rle"]).astype(bool) for one in self._found]
        return np.stack(found) if found else np.zeros((0, *self.picture.shape[:2]), bool)

    def show(self) -> Image.Image:
        """Return the picture with its boxes and masks, as one that notebooks display."""
        colors = [COLORS[n % len(COLORS)] for n in range(len(self.boxes))]
        drawn = torch.from_numpy(np.moveaxis(self.picture, -1, 0).copy())
        drawn = draw_segmentation_masks(drawn, torch.from_numpy(self.masks), 0.5, colors)
        drawn = draw_bounding_boxes(drawn, torch.from_numpy(self.boxes), colors=colors, width=2)
        return Image.fromarray(np.moveaxis(drawn.numpy(), 0, -1))

    def save(self, path: str | Path) -> Path:
        """Write a PNG of the objects' numbers, and a JSON file of them beside it; return the PNG.

        Raises:
            InputError: the ending is another, or one of the files is there already.
        """
        path = Path(path)
        if path.suffix != ".png":
            raise InputError(f"path={str(path)!r} must end in .png")
        for file in (path, path.with_suffix(".json")):
            if file.exists():
                raise InputError(f"{str(file)!r} is there already: name another, or remove it")
        one: dict[Hashable, Any] = {"case": [path.stem], "size": [self.picture.shape[:2]]}
        SaveInstances(path.parent)({**one, "prompts": [self._prompts], "pred": [self._found]})
        return path
