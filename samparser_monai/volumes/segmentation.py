"""What was found in a volume: masks on its slices, and the label volume that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from samparser_monai.geometry.boxes import box_of
from samparser_monai.geometry.frames import from_frame
from samparser_monai.volumes.targets import Click, pixels_of
from samparser_monai.volumes.view import View

NOTHING = -32.0
"""The logit where no mask was asked for."""
CERTAIN = 64.0
"""The logit of what no prompt may change."""
LEAST = 1.0
"""By how much a click's voxel is right, as a logit."""


@dataclass
class Mask:
    """What was found of one target on one slice.

    Attributes:
        label: the organ.
        logits: hxw, low resolution, over the model's square input, on the network's device.
        iou: the predicted one.
    """

    label: str
    logits: Tensor
    iou: float

    @property
    def stability(self) -> float:
        """The IoU of the masks at logits over 1 and over -1."""
        return float((self.logits > 1).sum() / (self.logits > -1).sum().clamp(min=1))

    def box(self, image_size: int) -> Tensor | None:
        """Return its box, XYXY (4,) in pixels of the model's input; None if it is empty."""
        box = box_of(self.logits > 0)
        if box is None:
            return None
        step = image_size / len(self.logits)
        low, high = torch.from_numpy(box).float().split(2)
        return torch.cat([low * step, (high + 1) * step - 1])

    def over(self, size: Sequence[int], image_size: int) -> Tensor:
        """Return its logits, HxW, over a picture of this size."""
        return from_frame(self.logits[None, None], size, image_size)[0, 0]


class Segmentation:
    """What was found in a volume.

    Args:
        view: of the volume.
        labels: organ -> its values.
        image_size: side of the model's square input.
        masks: slice of the view -> the masks on it.
        clicks: what they say about their own voxels holds, whatever the masks say.
        warnings: about prompts that were taken nevertheless.
        by_name: organs that were asked for by name.
    """

    def __init__(
        self,
        view: View,
        labels: Mapping[str, list[int]],
        image_size: int,
        masks: Mapping[int, list[Mask]],
        clicks: Sequence[Click] = (),
        warnings: Sequence[str] = (),
        by_name: Sequence[str] = (),
    ) -> None:
        self.view, self.values, self.image_size = view, labels, image_size
        self.masks, self.clicks, self.warnings = masks, clicks, warnings
        self.by_name = by_name

    def logits(self, k: int) -> tuple[list[str], Tensor]:
        """Return the organs that masks or clicks show on slice ``k``, and their logits OxHxW."""
        own = [(label, point) for label, n, point in self.clicks if n == k]
        shown = {mask.label for mask in self.masks.get(k, [])} | {label for label, _ in own}
        labels = [label for label in self.values if label in shown]
        organs = self._of_masks(k, labels).cpu()
        for spread in (True, False):  # a click may not undo its neighbour's voxel
            for label, point in own:
                self._put_right(organs, labels.index(label), point, spread)
        return labels, organs

    def _put_right(self, organs: Tensor, place: int, point: Tensor, spread: bool) -> None:
        """Put the voxel of a click right, and with it what is nearly as sure about it."""
        x, y = pixels_of(point, self.view.size, self.image_size).tolist()
        others = torch.cat([organs[:place, y, x], organs[place + 1 :, y, x]])
        found, foreground = float(organs[place, y, x]), bool(point[2])
        most = max([0.0, *others.tolist()]) if foreground else 0.0
        if (found > most) == foreground:
            return
        lacking = most + (LEAST if foreground else -LEAST) - found
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in self.view.size)
        square = (rows[:, None] - y) ** 2 + (columns - x) ** 2
        reach = max(self.view.size) / 128 if spread else 0.1  # one or two pixels of the model
        organs[place] += lacking * torch.exp(-square / 2 / reach**2)

    def _of_masks(self, k: int, labels: Sequence[str]) -> Tensor:
        masks = self.masks.get(k, [])
        device = masks[0].logits.device if masks else None
        organs = torch.full((len(labels), *self.view.size), NOTHING, device=device)
        for mask in masks:
            place = labels.index(mask.label)
            full = mask.over(self.view.size, self.image_size)
            organs[place] = torch.maximum(organs[place], full.to(organs))  # a draft's is here
        return organs

    def labels(self) -> MetaTensor:
        """Return the label volume 1xXxYxZ, uint8, on the source's grid.

        Where organs overlap, the larger logit wins.
        """
        found = torch.zeros_like(self.view.values, dtype=torch.uint8)
        for k in {*self.masks, *(k for _, k, _ in self.clicks)}:
            labels, logits = self.logits(k)
            if not labels:
                continue
            values = torch.tensor([self.values[label][0] for label in labels])
            best, organ = logits.max(0)
            found[0, :, :, k] = torch.where(best > 0, values[organ], 0).T.to(torch.uint8)
        return self.view.unseen(found)

    def table(self) -> list[dict[str, Any]]:
        """Return a row to an organ: organ, slices, predicted IoU (mean).

        Those that no prompt has asked for have none; a predicted IoU of 0 was found nowhere.
        """
        rows = []
        for label in self.values:
            ious = [m.iou for masks in self.masks.values() for m in masks if m.label == label]
            if ious:
                slices = sum(any(m.label == label for m in ms) for ms in self.masks.values())
                rows.append({"organ": label, "slices": slices, "iou": float(np.mean(ious))})
            elif label in self.by_name:
                rows.append({"organ": label, "slices": 0, "iou": 0.0})
        return rows
