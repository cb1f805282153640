"""Scribbles: strokes of a viewer's brush over what there is of an organ, sampled to clicks.

3D Slicer sends all its segments as one label volume, the strokes among them; they hide what lies
below, which is taken to be as its nearest voxel on the slice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from scipy import ndimage

from lib.labels import organ_of, segments_of
from lib.requests import corners_of, is_meant
from samparser_monai.errors import InputError, unknown
from samparser_monai.volumes.label_volumes import read_labels_like

INSIDE, OUTSIDE = "foreground_scribbles", "background_scribbles"
MOST = 6
"""Clicks that the strokes of one kind on one slice become."""


@dataclass
class Strokes:
    """Strokes over an organ; all are XxYxZ, bool.

    Attributes:
        label: the organ.
        draft: what there is of it.
        inside: voxels that are in it.
        outside: voxels that are not.
    """

    label: str
    draft: np.ndarray
    inside: np.ndarray
    outside: np.ndarray

    def prompts(self, roi: Any) -> list[dict[str, Any]]:
        """Return clicks where the strokes say otherwise; of nothing yet also the box of ``roi``.

        Raises:
            InputError: no stroke shows the organ, and nothing else does.
        """
        if not self.draft.any() and not self.inside.any():
            raise InputError(f"nothing to segment: draw a foreground scribble in {self.label!r}")
        wrong = (self.inside & ~self.draft) | (self.outside & self.draft)
        points, kinds = list[list[int]](), list[int]()
        for k in np.flatnonzero(wrong.any((0, 1))).tolist():
            for kind, strokes in ((1, self.inside), (0, self.outside)):
                own = strokes[:, :, k]
                said = own & wrong[:, :, k] if (own & wrong[:, :, k]).any() else own
                some = spread(np.argwhere(said), MOST).tolist()
                points += [[*place, k] for place in some]
                kinds += [kind] * len(some)
        found = [{"label": self.label, "points": points, "point_labels": kinds}] if points else []
        if roi and not self.draft.any():
            box = corners_of(roi, self.draft.shape)
            if is_meant(box, np.argwhere(self.inside)):
                found.insert(0, {"label": self.label, "box": box.ravel().tolist()})
        return found

    def painted(self, answer: MetaTensor, value: int) -> MetaTensor:
        """Return an answer, 1xXxYxZ, in which the strokes are what they say."""
        values = answer.numpy()[0]
        values[self.inside] = value
        values[self.outside & (values == value)] = 0
        return answer


def strokes_of(
    request: Mapping[str, Any], volume: MetaTensor, labels: Mapping[str, Sequence[int]]
) -> Strokes:
    """Return the strokes of a request.

    Args:
        request: ``draft`` is the path of the label volume, ``label_info`` what its values mean,
            ``selected_label_name`` the segment that is drawn.
        volume: that is labelled.
        labels: organ -> its values.

    Raises:
        InputError: no label volume, no strokes in it, or an organ that the model does not know.
    """
    if not request.get("draft"):
        raise InputError("scribbles come as a label volume, with label_info beside it: send both")
    name = request.get("selected_label_name") or request.get("label") or ""
    label = organ_of(str(name), labels)
    if label is None:
        raise unknown("selected_label_name", name, labels)
    names = segments_of(request)
    values = read_labels_like(volume, request["draft"]).numpy()[0]

    def of(these: Iterable[str]) -> np.ndarray:
        return np.isin(values, [value for value, known in names.items() if known in these])

    inside, outside = of([INSIDE]), of([OUTSIDE])
    if not (inside | outside).any():
        raise InputError(f"no segment {INSIDE!r} or {OUTSIDE!r} has a voxel: draw a scribble")
    draft = of({known for known in names.values() if organ_of(known, labels) == label})
    return Strokes(label, _uncovered(draft, inside | outside), inside, outside)


def _uncovered(draft: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Return a draft with what strokes hide of it, as the nearest voxels on the slice are."""
    draft = draft.copy()
    for k in np.flatnonzero((strokes & draft.any((0, 1))).any((0, 1))).tolist():
        places = ndimage.distance_transform_edt(strokes[:, :, k], None, False, True)
        draft[:, :, k] = draft[:, :, k][tuple(places)]
    return draft


def spread(places: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of some places, Nx2: the middlemost, and those farthest from all."""
    if len(places) <= most:
        return places
    chosen = [int(np.linalg.norm(places - places.mean(0), axis=1).argmin())]
    while len(chosen) < most:
        away = np.linalg.norm(places[:, None] - places[chosen], axis=2).min(1)
        chosen.append(int(away.argmax()))
    return places[chosen]
