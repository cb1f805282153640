"""What is there of an organ (a draft) and the prompts that change it, where they say otherwise.

A click changes its own slice, and its neighbours where the same is wrong there; a box asks for the
organ anew on its slices. All else stays as it was, to the voxel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from samparser_monai.geometry.boxes import boxes_of, widened
from samparser_monai.geometry.frames import coverage
from samparser_monai.volumes.asking import Ask
from samparser_monai.volumes.segmentation import CERTAIN, Mask
from samparser_monai.volumes.targets import SlicePrompt, Target, pixels_of

if TYPE_CHECKING:
    from samparser_monai.volumes.session import Propagate, VolumeSession

SURE = 8.0
"""The logit of a draft's pixels, in its organ or not."""
MOST = 12
"""Slices above and below a click's that it may change."""
THICK, REACH, SLACK = 1.2, 4.0, 2.0
"""How thick a click's change is at most, and to slices how far away it goes on: in the click's
distance to the outline, and in mm beside that. Who clicks in the middle of what is wrong says by
that distance how large it is."""
LEFT = 0.02
"""Of the pixels there are, so many stay: a click that would take all has hit what is another's."""
HEARD = 0.8
"""Of the clicks on a slice that say otherwise, a brush's say: so many an answer must follow."""
SLOPE = 2.0
"""How far a surface may move sideways from slice to slice, in slice distances."""
LEAST, MOST_GROWN = 0.1, 1.2
"""Of the pixels changed on a slice: where its neighbour has fewer or more to change, it stays."""
NEIGHBOURS = np.ones((3, 3))  # of a pixel, 8


@dataclass
class Drawn(Mask):
    """A mask whose pixels are known in the picture's own resolution.

    Attributes:
        pixels: HxW, bool.
        certain: no other organ may have them.
    """

    pixels: Tensor | None = None
    certain: bool = False

    def over(self, size: object, image_size: int) -> Tensor:
        """Return logits, HxW, that say what the pixels say."""
        assert self.pixels is not None
        inside = CERTAIN if self.certain else SURE
        return torch.where(self.pixels, inside, -SURE)


def refined(
    session: "VolumeSession", target: Target, propagate: "Propagate | None"
) -> dict[int, Mask]:
    """Return the masks of a target with a draft, by slice, after its prompts.

    Args:
        session: of the volume.
        target: whose ``draft`` the prompts change.
        propagate: how a 3-D box is answered; without it a click changes its own slice alone.
    """
    draft = Draft(session, target)
    draft.ask_boxes(propagate)
    for k, prompt in sorted(target.prompts.items()):
        if prompt.points is not None and k not in target.fixed:
            changed, reach = draft.correct(k, prompt.points)
            for step in (-1, 1) if propagate is not None else ():
                draft.follow(k, changed, reach, step)
    return dict(draft.masks())


def after_clicks(session: "VolumeSession", k: int, mask: Mask, points: Tensor) -> Mask:
    """Return a mask on slice ``k``, changed by clicks (Px3) where they say otherwise."""
    if session.agrees(mask, points):
        return mask
    nothing = np.broadcast_to(np.False_, session.view.values.shape[1:])
    draft = Draft(session, Target(mask.label, draft=nothing))
    full = mask.over(session.view.size, session.backbone.image_size)
    draft.changed[k] = (full > 0).cpu().numpy()
    return dict(draft.masks())[k] if draft.correct(k, points)[0].any() else mask


class Draft:
    """The pixels of one organ on the slices of a volume, as prompts change them.

    Args:
        session: of the volume.
        target: with the draft, its prompts and its fixed slices.
    """

    def __init__(self, session: "VolumeSession", target: Target) -> None:
        assert target.draft is not None
        self.session, self.target = session, target
        self.given: np.ndarray = target.draft  # CxRxS
        self.changed: dict[int, np.ndarray] = {}  # slice -> HxW, bool
        self.ious: dict[int, float] = {}
        self.side = session.backbone.image_size
        self.mask_side = session.backbone.mask_size

    def pixels(self, k: int) -> np.ndarray:
        """Return the organ on slice ``k`` as it is now, HxW, bool."""
        return self.changed[k] if k in self.changed else self.given[:, :, k].T

    def masks(self) -> Iterator[tuple[int, Mask]]:
        """Return the slices that show the organ, or showed it; an untouched one is sure."""
        for k in range(self.session.view.depth):
            pixels = self.pixels(k)
            if k in self.changed or pixels.any():
                yield (
                    k,
                    Drawn(
                        self.target.label,
                        torch.empty(0),
                        self.ious.get(k, 1.0),
                        torch.from_numpy(np.ascontiguousarray(pixels)),
                        self.target.locked,
                    ),
                )

    def ask_boxes(self, propagate: "Propagate | None") -> None:
        """Ask for the organ anew on the slices of its boxes."""
        target, asked, found = self.target, dict[int, SlicePrompt](), dict[int, Mask]()
        if target.span is not None:
            nothing = Mask(target.label, torch.full((self.mask_side,) * 2, -1.0), 0)
            found = dict.fromkeys(range(target.span[0], target.span[1] + 1), nothing)
            alone = replace(target, draft=None, prompts={})
            if propagate is not None:
                found |= self.session.run(propagate(self.session, alone))
            else:
                asked = alone.on_its_slices()
        asked |= {k: SlicePrompt(p.box) for k, p in target.prompts.items() if p.box is not None}
        masks = self.session.answer([Ask(k, target.label, one) for k, one in asked.items()])
        for k, mask in (found | dict(zip(asked, masks, strict=True))).items():
            if k not in target.fixed:
                full = mask.over(self.session.view.size, self.side)
                self.changed[k], self.ious[k] = (full > 0).cpu().numpy(), mask.iou

    def correct(self, k: int, points: Tensor) -> tuple[np.ndarray, float]:
        """Let clicks (Px3) change slice ``k``.

        Return what has changed, HxW: 1 added, -1 taken; and how far from the slice that may be
        wrong too (mm).

        The network is asked by the box of what is there and of the clicks, and the clicks. Of an
        answer counts what is connected with a click that says otherwise than what is there; of
        several answers the one that changes least, but hears the clicks. Where none does, it is
        asked by the clicks alone: a box about what leaks holds the leak. Where no answer to them
        does either, or all change too much, they are right about their own voxels alone.
        """
        before, places = self.pixels(k), pixels_of(points, self.session.view.size, self.side)
        columns, rows = places.T.numpy()
        kinds = points[:, 2].numpy() > 0
        wrong = before[rows, columns] != kinds
        nothing = np.zeros(before.shape, np.int8)
        if not wrong.any():
            return nothing, 0.0
        box = self._box(before, points[points[:, 2] > 0, :2])
        depth = self._depths(before, columns[wrong], rows[wrong]).max()
        for prompt in (SlicePrompt(box, points), SlicePrompt(None, points)):
            said = []
            for now, iou in self._answers(k, prompt, before):
                change = np.zeros(before.shape, np.int8)
                for sign, kind, other in ((1, True, now & ~before), (-1, False, before & ~now)):
                    seeds = wrong & (kinds == kind)
                    numbered, _ = ndimage.label(other, NEIGHBOURS)
                    own = set(numbered[rows[seeds], columns[seeds]].tolist()) - {0}
                    change[np.isin(numbered, list(own))] = sign
                moved = change[rows, columns] != 0  # what other clicks say stays
                heard = moved[wrong].mean() >= HEARD and not moved[~wrong].any()
                left = np.count_nonzero(before & (change == 0)) >= LEFT * np.count_nonzero(before)
                if heard and left and self._thickness(change) <= THICK * depth + SLACK:
                    said.append((change, iou))
            if said:
                change, iou = min(said, key=lambda one: np.count_nonzero(one[0]))
                self._change(k, change, iou)
                return change, REACH * depth + SLACK
        return nothing, 0.0

    def _depths(self, before: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return how far clicks at some pixels are from the outline (mm); infinity without one."""
        x, y, _ = self.session.view.spacing
        inside, outside = (
            ndimage.distance_transform_edt(there, (y, x)) if not there.all() else there + np.inf
            for there in (before, ~before)
        )
        return np.where(before, inside, outside)[rows, columns]

    def _thickness(self, change: np.ndarray) -> float:
        """Return how far (mm) a change goes inward from its own edge: half of its width."""
        x, y, _ = self.session.view.spacing
        return float(ndimage.distance_transform_edt(np.pad(change != 0, 1), (y, x)).max())

    def _answers(
        self, k: int, prompt: SlicePrompt, given: np.ndarray
    ) -> Iterator[tuple[np.ndarray, float]]:
        """Return what the network says to a prompt beside a mask, HxW, and its predicted IoU.

        First the mean of its answers with the mask, which tends to say too much or to follow
        something else, and without it, then that without, then that with it.
        """
        label, logits = self.target.label, self._logits(given)
        with_mask, without = (self.session.ask(k, label, prompt, g) for g in (logits, None))
        mean = Mask(
            label,
            (with_mask.logits + without.logits) / 2,
            (with_mask.iou + without.iou) / 2,
        )
        for mask in (mean, without, with_mask):
            full = mask.over(self.session.view.size, self.side)
            yield (full > 0).cpu().numpy(), mask.iou

    def follow(self, k: int, change: np.ndarray, reach: float, step: int) -> None:
        """Change slices beyond ``k``, up to ``reach`` (mm), where the same is wrong there."""
        for _ in range(int(min(MOST, reach / self.session.view.spacing[2]))):
            k += step
            own = self.target.prompts.get(k)
            outside = not 0 <= k < self.session.view.depth or k in self.target.fixed
            if outside or not change.any() or (own is not None and own.points is not None):
                return
            before = self.pixels(k)
            wanted = (before | (change > 0)) & ~(change < 0)
            if not wanted.any():
                return
            now, iou = next(self._answers(k, SlicePrompt(self._box(wanted)), wanted))
            thick = ndimage.distance_transform_edt(change != 0).max()  # no more than it is itself
            steps = min(self._sideways(), max(1, round(thick)))
            near = ndimage.binary_dilation(change != 0, NEIGHBOURS, iterations=steps)
            new = np.zeros_like(change)
            for sign, there in ((1, now & ~before), (-1, before & ~now)):
                if (change == sign).any():
                    numbered, _ = ndimage.label(there & near, NEIGHBOURS)
                    own_parts = set(np.unique(numbered[change == sign])) - {0}
                    new[np.isin(numbered, list(own_parts))] = sign
            if not LEAST <= (new != 0).sum() / (change != 0).sum() <= MOST_GROWN:
                return
            self._change(k, new, iou)
            change = new

    def _change(self, k: int, change: np.ndarray, iou: float) -> None:
        if change.any():
            self.changed[k] = (self.pixels(k) | (change > 0)) & ~(change < 0)
            self.ious[k] = iou

    def _box(self, pixels: np.ndarray, points: Tensor | None = None) -> Tensor | None:
        """Return the box, XYXY in the model's square, about pixels (HxW) and points (Px2)."""
        if not pixels.any():
            return None  # a click alone shows what there is
        box = widened(torch.from_numpy(boxes_of(pixels[None])[0]) * self.session.targets.scale)
        shown = box.new_empty(0, 2) if points is None else points
        low, high = (torch.cat([corner[None], shown]) for corner in box.split(2))
        return torch.cat([low.amin(0), high.amax(0)])

    def _logits(self, pixels: np.ndarray) -> Tensor | None:
        """Return a mask prompt (hxw) of pixels; None of nothing."""
        if not pixels.any():
            return None
        given = torch.from_numpy(np.ascontiguousarray(pixels))
        return (2 * coverage([given], self.side, self.mask_side)[0] - 1) * SURE

    def _sideways(self) -> int:
        """Return how many pixels an organ's surface may move sideways from slice to slice."""
        x, y, step = self.session.view.spacing
        return max(1, round(SLOPE * step / max(x, y)))
