"""One request of one person about one image, and what they were answered before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from lib.history import Answer, Box, Click, History, Packed
from lib.requests import fixed_slices
from lib.scribbles import Strokes, strokes_of
from samparser_monai.errors import InputError, unknown
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.positions import voxels_of
from samparser_monai.volumes.segmentation import Segmentation
from samparser_monai.volumes.session import VolumeSession

MOST_OF_BODY = 0.5
"""Of what is not air on a slice: the liver, the largest organ, has less."""


class Asked:
    """A request, and what there is of the organs that it asks for.

    Args:
        request: as it came; ``client_id`` says whose it is, ``draft`` is the path of a label
            volume to go on from, ``go_on`` whether the last answer is one.
        session: on the image.
        history: of all people.
        dimension: of the task, 2 for one slice.
    """

    def __init__(
        self, request: Mapping[str, Any], session: VolumeSession, history: History, dimension: int
    ) -> None:
        self.request, self.session, self.history = request, session, history
        self.shape = tuple(session.view.volume.shape[1:])
        self.flat = dimension == 2
        person = request.get("client_id")
        self.whose = (person, request["image"]) if isinstance(person, str) and person else None
        self.placed: Sequence[Mapping[str, Any]] = ()  # the prompts, before they go on from any
        self.strokes: Strokes | None = None  # of a brush

    def going_on(self, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return prompts that go on from what there is of their organs, where there is anything."""
        self.placed = prompts
        fixed, found = fixed_slices(self.request, self.shape[2]), list[dict[str, Any]]()
        for label in dict.fromkeys(p["label"] for p in prompts if "label" in p):
            own = [prompt for prompt in prompts if prompt.get("label") == label]
            box, clicks = parts_of(own)
            k = slice_of(box, clicks) if self.flat else None
            draft, before = self._draft(label, box, clicks, k)
            if k is not None and draft is not None:
                draft[:, :, np.arange(self.shape[2]) != k] = False
            if draft is None or not (draft.any() or fixed):
                found += own
                continue
            points = [click for p in own if "points" in p for click in _clicks(p)]
            points = [click for click in points if click[2] not in fixed]
            one: dict[str, Any] = {
                "label": label,
                "mask": self._volume(draft, self.session.labels[label][0]),
                "points": [list(click[:3]) for click in points],
                "point_labels": [int(click[3]) for click in points],
            }
            found.append(one)
            if box is not None and box != before:
                one["box"] = list(box)
            if here := fixed & set(range(self.shape[2]) if k is None else [k]):
                one["fixed"] = sorted(here)
        return found + [prompt for prompt in prompts if "label" not in prompt]

    def scribbled(self) -> list[dict[str, Any]]:
        """Return prompts of the strokes that came with the request, on what there is below."""
        session = self.session
        self.strokes = strokes_of(self.request, session.view.volume, session.labels)
        prompts = self.going_on(self.strokes.prompts(self.request.get("roi")))
        self.placed = [{"label": self.strokes.label}]  # a click goes on from the answer to them
        return prompts or [self._unchanged(self.strokes)]

    def _draft(
        self, label: str, box: Box | None, clicks: frozenset[Click], k: int | None
    ) -> tuple[np.ndarray | None, Box | None]:
        """Return what there is of an organ, and the box that made it."""
        if self.strokes is not None:
            return self.strokes.draft.copy(), None
        if self.request.get("draft"):
            return self._given(label), None
        if self.whose is None or not self.request.get("go_on", True):
            return None, None
        base = self.history.base(self.whose, label, box, clicks, k)
        return (None, None) if base is None else (base.voxels.mask(), base.box)

    def _given(self, label: str) -> np.ndarray:
        """Return an organ in the label volume that came with the request.

        Raises:
            InputError: it does not show the organ; one of a single value is taken to show it.
        """
        session = self.session
        read = read_labels_like(session.view.volume, self.request["draft"], session.labels)
        values, shown = read.numpy()[0], sorted(set(np.unique(read.numpy())) - {0})
        own = set(session.labels[label]) & set(shown) or (set(shown) if len(shown) == 1 else ())
        if not own:
            raise InputError(
                f"the label volume does not show {label!r}: its values are {[*map(int, shown)]}, "
                f"and {label!r} has {session.labels[label]}"
            )
        return np.isin(values, list(own))

    def remembered(self, answer: MetaTensor, prompts: Sequence[Mapping[str, Any]]) -> MetaTensor:
        """Note an answer to prompts, and return it without what is another organ's."""
        placed = self.placed or prompts
        if self.strokes is not None:
            answer = self.strokes.painted(answer, self.session.labels[self.strokes.label][0])
        labels = list(dict.fromkeys(p["label"] for p in placed if "label" in p))
        values = answer.numpy()
        if self.whose is not None and self.request.get("lock_others"):
            for other in self.session.labels:
                held = None if other in labels else self.history.last(self.whose, other)
                if held is not None:
                    values[0][held.voxels.mask()] = 0
        for label in labels if self.whose is not None else ():
            box, clicks = parts_of([p for p in placed if p.get("label") == label])
            voxels = values[0] == self.session.labels[label][0]
            if self.flat:
                k, last = slice_of(box, clicks), self.history.last(self.whose, label)
                whole = np.zeros_like(voxels) if last is None else last.voxels.mask()
                whole[:, :, k] = voxels[:, :, k]
                voxels = whole
            self.history.add(self.whose, Answer(label, Packed(voxels), box, clicks))
        return answer

    def doubts(self, found: Segmentation) -> list[str]:
        """Return why an answer to clicks alone is likely to be more than its organ."""
        told = list(found.warnings)
        clicked = {p["label"] for p in self.placed if "points" in p}
        for label in clicked - {p["label"] for p in self.placed if "box" in p}:
            for k, masks in found.masks.items():
                own = [
                    m.over(found.view.size, found.image_size) > 0 for m in masks if m.label == label
                ]
                body = found.view.picture(k) > 0
                if own and (own[0].cpu() & body).sum() > MOST_OF_BODY * body.sum():
                    told.append(
                        f"{label} on slice {k} takes most of the body: draw "
                        "a box about it, or place background points"
                    )
                    break
        return told

    def looked_at(self) -> int:
        """Return the slice of the view that its person looks at, as far as prompts tell."""
        prompts = [p for p in self.placed if "box" in p or "points" in p]
        if not prompts:
            return self.session.view.depth // 2
        low, high = np.reshape(prompts[-1].get("box") or prompts[-1]["points"][-1:] * 2, (2, 3))
        middle = [((low + high) // 2).tolist()]
        label = prompts[-1]["label"]
        return int(
            voxels_of(self.session.view, {"label": label, "points": middle}, "points", middle)[0, 2]
        )

    def undone(self) -> MetaTensor:
        """Return what there was of an organ before the last answer, and forget that one.

        Raises:
            InputError: nothing is known to undo.
        """
        label = self.request.get("label") or next(iter(self.session.labels))
        if label not in self.session.labels:
            raise unknown("label", label, self.session.labels)
        try:
            if self.whose is None:
                raise LookupError
            before = self.history.undo(self.whose, label)
        except LookupError as error:
            raise InputError(
                f"nothing to undo of {label!r}: no answer to this client_id is known"
            ) from error
        voxels = np.zeros(self.shape, bool) if before is None else before.voxels.mask()
        return self._volume(voxels, self.session.labels[label][0])

    def _unchanged(self, strokes: Strokes) -> dict[str, Any]:
        value = self.session.labels[strokes.label][0]
        return {"label": strokes.label, "mask": self._volume(strokes.draft, value), "fixed": []}

    def _volume(self, voxels: np.ndarray, value: int) -> MetaTensor:
        values = torch.from_numpy(voxels[None] * np.uint8(value))
        return MetaTensor(values, affine=self.session.view.volume.affine)


def parts_of(prompts: Sequence[Mapping[str, Any]]) -> tuple[Box | None, frozenset[Click]]:
    """Return the box and the clicks of an organ's prompts."""
    boxes = [tuple(p["box"]) for p in prompts if "box" in p]
    clicks = frozenset(click for p in prompts if "points" in p for click in _clicks(p))
    return (boxes[0] if boxes else None), clicks


def slice_of(box: Box | None, clicks: frozenset[Click]) -> int:
    """Return the slice of prompts that lie on one."""
    return next(iter(clicks))[2] if clicks else (box or (0,) * 6)[2]


def _clicks(prompt: Mapping[str, Any]) -> list[Click]:
    kinds = prompt.get("point_labels", [1] * len(prompt["points"]))
    return [(*point, bool(kind)) for point, kind in zip(prompt["points"], kinds, strict=True)]
