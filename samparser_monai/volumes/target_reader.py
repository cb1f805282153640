"""Prompts, in whichever frame they were written, as the objects that they ask for."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from samparser_monai.errors import InputError
from samparser_monai.geometry.boxes import boxes_of
from samparser_monai.geometry.components import instances_of
from samparser_monai.geometry.frames import frame_scale
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.organ_names import pieces_of
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.positions import voxel_box, voxels_of
from samparser_monai.volumes.prompts import refines
from samparser_monai.volumes.sides import shown_beside, side_of
from samparser_monai.volumes.targets import Click, Prompt, SlicePrompt, Target, pixels_of
from samparser_monai.volumes.view import View


class TargetReader:
    """Turn prompts, in whichever frame they were written, into targets on a volume's slices.

    Args:
        view: of the volume; the voxels of its own array are the frame ``voxel``.
        labels: organ -> its value, or values, in coarse masks.
        image_size: side of the model's input.
    """

    def __init__(self, view: View, labels: Labels, image_size: int) -> None:
        self.view, self.labels = view, organ_values(labels)
        self.warnings: list[str] = []  # about prompts that were taken nevertheless
        self.image_size = image_size
        self.scale, _ = frame_scale(view.size, image_size)

    def __call__(self, prompts: Sequence[Prompt], known: Sequence[Target] = ()) -> list[Target]:
        """Return what the prompts of a volume ask for, and ``known``, which points may change.

        Boxes of one organ on different slices that overlap are one object, and so are a 3-D box
        and the boxes in it; two boxes on one slice are two objects. A foreground point belongs to
        the object whose box it lies in, or is an object of its own; a background point belongs to
        the nearest object.

        Raises:
            InputError: a prompt leaves the volume; a mask lies on another grid, is no label volume
                or shows no organ; background points of an organ that nothing else asks for; points
                that contradict each other.
        """
        self.warnings = []
        self._check_clicks([c for p in prompts if "points" in p for c in self._clicks(p)])
        found = self._drafts(prompts)
        drafts = {target.label for target in found if not target.locked}
        prompts = [prompt for prompt in prompts if prompt.get("label") not in drafts]
        found += known
        for prompt in sorted(prompts, key=self._order):
            if "mask" in prompt:
                found += self._of_mask(prompt)
            elif "box" in prompt:
                self._add_box(found, prompt)
        self._add_points(found, [prompt for prompt in prompts if "points" in prompt])
        return found

    def masked(self, prompts: Sequence[Prompt]) -> set[str]:
        """Return the organs that masks without a label show."""
        masks = [p["mask"] for p in prompts if "mask" in p and "label" not in p]
        shown = {value for mask in masks for value in np.unique(self._read(mask)).tolist()}
        return {name for name, known in self.labels.items() if shown & {*known}}

    def _order(self, prompt: Prompt) -> int:
        """Return the sort key by which boxes of several slices come before those of one."""
        if "box" not in prompt:
            return 0
        low, high = voxel_box(self.view, prompt)
        return int(low[2] == high[2])

    def _add_box(self, found: list[Target], prompt: Prompt) -> None:
        low, high = voxel_box(self.view, prompt)
        if low[0] == high[0] or low[1] == high[1]:
            raise InputError(
                f"{self.view.path}: box={prompt['box']} of "
                f"{prompt['label']!r} lies across the slices: choose the plane of the slices by "
                "--plane axial, coronal or sagittal, or widen the box"
            )
        box = torch.tensor([*low[:2], *high[:2]], dtype=torch.float32) * self.scale
        if low[2] < high[2]:
            found.append(Target(prompt["label"], span=(low[2], high[2]), box=box))
            return
        k = low[2]
        free = [t for t in _of_label(found, prompt) if k not in t.prompts]
        shares = [_overlap(t.box_near(k), box) for t in free]
        if max(shares, default=0) > 0:
            target = free[int(np.argmax(shares))]
        else:
            found.append(target := Target(prompt["label"]))
        target.prompts[k] = SlicePrompt(box)

    def _add_points(self, found: list[Target], prompts: Sequence[Prompt]) -> None:
        """Give the points to their objects, those of the foreground first."""
        clicks = [click for prompt in prompts for click in self._clicks(prompt)]
        for label, k, point in sorted(clicks, key=lambda click: -click[2][2]):
            own = [t for t in found if t.label == label and t.draft is None]
            free = [t for t in own if k in t.prompts or not t.complete]
            if point[2]:
                free = [t for t in free if self._is_in(t, k, point)]
            elif not own:
                raise InputError(
                    f"{self.view.path}: {label!r} has background points only: "
                    "add a box, or a point in the organ"
                )
            target = min(free, key=lambda t: t.distance(k, point), default=None)
            if target is None and not point[2]:
                continue  # on this slice nothing is asked for that it could take away from
            if target is None:
                found.append(target := Target(label))
            if target.span and point[2]:
                target.span = min(target.span[0], k), max(target.span[1], k)
            prompt = target.prompts.setdefault(k, SlicePrompt())
            old = torch.empty(0, 3) if prompt.points is None else prompt.points
            prompt.points = torch.cat([old, point[None]])

    def _is_in(self, target: Target, k: int, point: Tensor) -> bool:
        """Tell whether a foreground point may lie in an object.

        Of a paired organ whose objects have no boxes, one lies on each side of the body.
        """
        if target.box_near(k) is not None:
            return not target.distance(k, point)[0]
        if pieces_of(target.label) != 2:
            return True
        clicks = [(k, point), *((n, own) for _, n, own in target.clicks() if own[2])]
        first, *others = (side_of(self.view, *click, self.image_size) for click in clicks)
        return first in others

    def _clicks(self, prompt: Prompt) -> list[Click]:
        kinds = prompt.get("point_labels", [1] * len(prompt["points"]))
        voxels = voxels_of(self.view, prompt, "points", prompt["points"])
        points = torch.tensor(np.c_[voxels[:, :2], kinds], dtype=torch.float32)
        points[:, :2] *= self.scale[:2]
        return [(prompt["label"], k, p) for k, p in zip(voxels[:, 2].tolist(), points, strict=True)]

    def _check_clicks(self, clicks: Sequence[Click]) -> None:
        """Raise an InputError where a voxel would have to be two things at once."""
        said: dict[tuple[float, ...], set[tuple[str, float]]] = defaultdict(set)
        for label, k, point in clicks:
            x, y, kind = point.tolist()
            said[k, x, y].add((label, kind))
        for here in said.values():
            inside = sorted(label for label, kind in here if kind)
            if len(inside) > 1 or any((label, 0.0) in here for label in inside):
                raise InputError(
                    f"{self.view.path}: two points on one voxel contradict "
                    f"each other, one of them is of {inside[0]!r}: take one away"
                )

    def _drafts(self, prompts: Sequence[Prompt]) -> list[Target]:
        """Return a target to each organ that goes on from a mask, and to those that it locks.

        Raises:
            InputError: a prompt on a fixed slice, or in a locked organ.
        """
        found, locked = [], dict[str, Target]()
        for prompt in filter(refines, prompts):
            label, mask = prompt["label"], self._read(prompt["mask"])
            values = self.view.seen(mask)
            target = Target(label, draft=np.isin(values, self.labels[label]))
            target.fixed = frozenset(self._slice(prompt, k) for k in prompt.get("fixed", ()))
            for beside in prompts:
                if beside.get("label") == label:
                    self._go_on(target, beside)
            found += [target, *self._other_of_two(target)]
            for name, known in self.labels.items() if prompt.get("locked") else ():
                if name != label and (there := np.isin(values, known)).any():
                    locked[name] = Target(name, draft=there, locked=True)
        held = [one for name, one in locked.items() if name not in {t.label for t in found}]
        self._check_drafts([*found, *held])
        return [*found, *held]

    def _other_of_two(self, target: Target) -> list[Target]:
        """Take the clicks from a draft's target that begin the other one of a paired organ.

        They lie on the side of the body where the draft shows next to nothing.
        """
        if pieces_of(target.label) != 2 or target.fixed:
            return []
        draft, other = target.draft, Target(target.label)
        assert draft is not None
        for k, prompt in target.prompts.items():
            points = torch.empty(0, 3) if prompt.points is None else prompt.points
            beside = [shown_beside(self.view, draft, k, p, self.image_size) for p in points]
            apart = (points[:, 2] > 0) & ~torch.tensor(beside, dtype=torch.bool)
            if apart.any():
                other.prompts[k], prompt.points = SlicePrompt(None, points[apart]), points[~apart]
        return [other] if other.prompts else []

    def _go_on(self, target: Target, prompt: Prompt) -> None:
        """Give a draft's target the box and the points of a prompt."""
        if "box" in prompt:
            low, high = voxel_box(self.view, prompt)
            box = torch.tensor([*low[:2], *high[:2]], dtype=torch.float32) * self.scale
            if low[2] == high[2]:
                target.prompts.setdefault(low[2], SlicePrompt()).box = box
            elif target.span is None:
                target.span, target.box = (low[2], high[2]), box
            else:
                raise InputError(
                    f"{self.view.path}: {target.label!r} goes on from a mask with two 3-D boxes: "
                    "give one about both"
                )
        for _, k, point in self._clicks(prompt) if "points" in prompt else ():
            asked = target.prompts.setdefault(k, SlicePrompt())
            old = torch.empty(0, 3) if asked.points is None else asked.points
            asked.points = torch.cat([old, point[None]])

    def _check_drafts(self, targets: Sequence[Target]) -> None:
        locked = [target for target in targets if target.locked]
        for target in targets:
            if fixed := sorted(target.fixed & target.prompts.keys()):
                raise InputError(
                    f"{self.view.path}: a prompt of {target.label!r} lies on a slice that is "
                    f"fixed, {fixed[0]}: take it away, or free the slice"
                )
            for k, prompt in target.prompts.items():
                points = torch.empty(0, 3) if prompt.points is None else prompt.points
                inside = pixels_of(points[points[:, 2] > 0], self.view.size, self.image_size)
                for x, y in inside.tolist():
                    if held := [o for o in locked if o.draft is not None and o.draft[x, y, k]]:
                        raise InputError(
                            f"{self.view.path}: a point of {target.label!r} lies in "
                            f"{held[0].label!r}, which is locked: move it, or leave out locked"
                        )

    def _slice(self, prompt: Prompt, k: int) -> int:
        """Return the slice of the view that is slice ``k`` of the file's own array."""
        beyond = [side - 1 for side in self.view.volume.shape[1:3]]
        places = voxels_of(
            self.view, {**prompt, "frame": "voxel"}, "fixed", [[0, 0, k], [*beyond, k]]
        )
        if places[0, 2] != places[1, 2]:
            raise InputError(
                f"{self.view.path}: fixed={prompt['fixed']} are slices of the file's third axis, "
                "and others are looked at: leave --plane out"
            )
        return int(places[0, 2])

    def _read(self, mask: Any) -> MetaTensor:
        """Return a mask on the volume's grid; one that was read already is."""
        if isinstance(mask, MetaTensor):
            return mask
        return read_labels_like(self.view.volume, mask, self.labels, self.warnings)

    def _of_mask(self, prompt: Prompt) -> list[Target]:
        values = self.view.seen(self._read(prompt["mask"]))
        self._check_values(prompt, set(np.unique(values).tolist()) - {0})
        found = []
        for name, known in self.labels.items():
            if prompt.get("label", name) != name:
                continue
            organ = np.isin(values, known)
            for k in np.flatnonzero(organ.any((0, 1))).tolist():
                _, masks = instances_of(organ[:, :, k].T, min_area=1)
                for box in torch.from_numpy(boxes_of(masks)) * self.scale:
                    found.append(Target(name, {k: SlicePrompt(box)}, complete=True))
        return found

    def _check_values(self, prompt: Prompt, values: set[int]) -> None:
        """Raise an InputError where a mask asks for nothing; note what it has that is not asked."""
        known = {name: v for name, v in self.labels.items() if prompt.get("label", name) == name}
        wanted = {value for those in known.values() for value in those}
        shown = ", ".join(map(str, sorted(values))) or "0 alone"
        if not values & wanted:
            raise InputError(
                f"{prompt['mask']} shows none of the organs asked for: its values are {shown}, "
                f"those of labels are {known}; give the values that it has by --labels"
            )
        if other := values - {v for those in self.labels.values() for v in those}:
            self.warnings.append(
                f"{prompt['mask']} has values that labels do not name, they are not asked for: "
                + ", ".join(map(str, sorted(other)))
            )


def _of_label(found: Sequence[Target], prompt: Prompt) -> list[Target]:
    return [t for t in found if t.label == prompt["label"] and not t.complete]


def _overlap(box: Tensor | None, other: Tensor) -> float:
    """Return the area (pixels) that two boxes share; a point (x, y, ...) is a box of one pixel."""
    if box is None:
        return 0.0
    other = other if len(other) == 4 else other[[0, 1, 0, 1]]
    sides = torch.minimum(box[2:], other[2:]) - torch.maximum(box[:2], other[:2]) + 1
    return float(sides.clamp(min=0).prod())
