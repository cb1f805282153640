"""What prompts ask for: a target to each object of an organ, in the pixels of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samparser_monai.geometry.frames import frame_scale

Prompt = Mapping[str, Any]
Click = tuple[str, int, Tensor]
"""The organ, the slice, and x, y (pixels of the model's input) and 1 or 0 (3,) of a point."""


@dataclass
class SlicePrompt:
    """A prompt on one slice: a box (4,), XYXY; points Px3, x, y and 1 or 0; or both."""

    box: Tensor | None = None
    points: Tensor | None = None

    @property
    def starts(self) -> bool:
        """Whether it shows an object: background points alone show what is none."""
        return self.box is not None or bool(self.points is not None and self.points[:, 2].any())


@dataclass
class Target:
    """One object of an organ.

    Attributes:
        label: the organ.
        prompts: slice -> its prompt.
        span: first and last slice of the object, where they are known.
        box: XYXY (4,), what it covers at most on any slice, where that is known.
        complete: every slice of the object has a prompt.
        draft: what is there of the organ, CxRxS (bool), where prompts go on from that.
        fixed: slices that stay as the draft has them.
        locked: nothing changes the draft, and no other organ gets its voxels.
    """

    label: str
    prompts: dict[int, SlicePrompt] = field(default_factory=dict)
    span: tuple[int, int] | None = None
    box: Tensor | None = None
    complete: bool = False
    draft: np.ndarray | None = None
    fixed: frozenset[int] = frozenset()
    locked: bool = False

    def box_near(self, k: int) -> Tensor | None:
        """Return the box of the object, or its prompt's on the slice nearest to ``k``."""
        boxed = [n for n, prompt in self.prompts.items() if prompt.box is not None]
        if self.box is not None or not boxed:
            return self.box
        return self.prompts[min(boxed, key=lambda n: abs(n - k))].box

    def limit(self, k: int) -> Tensor | None:
        """Return what the object covers at most on slice ``k``; None where that is not known.

        Between two boxed slices it is the box between theirs, beyond the last one that one's own.
        """
        boxed = {
            n: prompt.box for n, prompt in sorted(self.prompts.items()) if prompt.box is not None
        }
        if self.box is not None or len(boxed) < 2:
            return self.box
        sides = torch.stack(list(boxed.values())).numpy().T
        return torch.tensor([np.interp(k, list(boxed), side) for side in sides]).float()

    def clicks(self) -> list[Click]:
        """Return the points of its prompts."""
        return [
            (self.label, k, point)
            for k, prompt in self.prompts.items()
            for point in (() if prompt.points is None else prompt.points)
        ]

    def on_its_slices(self) -> dict[int, SlicePrompt]:
        """Return its box on each slice of its span, and its prompts, beside that box.

        Background points alone ask for nothing.
        """
        span = range(self.span[0], self.span[1] + 1) if self.span else range(0)
        found = {k: SlicePrompt(self.box) for k in span}
        for k, prompt in self.prompts.items():
            whole = self.box if k in span else None
            found[k] = SlicePrompt(whole if prompt.box is None else prompt.box, prompt.points)
        return {k: prompt for k, prompt in found.items() if prompt.starts}

    def starting(self) -> dict[int, SlicePrompt]:
        """Return the prompts that show the object without another's help.

        Where there are boxes these do; points then correct what was made of them.
        """
        boxed = {k: prompt for k, prompt in self.prompts.items() if prompt.box is not None}
        if boxed or self.box is not None:
            return boxed
        return {k: prompt for k, prompt in self.prompts.items() if prompt.starts}

    def distance(self, k: int, point: Tensor) -> tuple[float, int]:
        """Return how far a point on slice ``k`` lies from the object, in pixels and in slices."""
        box = self.box_near(k)
        if box is None:
            shown = torch.cat([s.points for s in self.prompts.values() if s.points is not None])
            beyond = (shown[:, :2] - point[:2]).norm(dim=1).min()
        else:
            beyond = torch.maximum(box[:2] - point[:2], point[:2] - box[2:]).clamp(min=0).norm()
        shown_on = range(self.span[0], self.span[1] + 1) if self.span else list(self.prompts)
        return float(beyond), min(abs(n - k) for n in shown_on)


def pixels_of(points: Tensor, size: Sequence[int], image_size: int) -> Tensor:
    """Return the column and row (...x2) in a picture (H, W) of points of the model (...x3)."""
    return (points[..., :2] / frame_scale(size, image_size)[0][:2]).round().long()
