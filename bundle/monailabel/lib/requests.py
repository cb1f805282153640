"""What a viewer sends -> prompts of the volume engine; whatever cannot be one is refused here.

Positions are voxels (i, j, k) of the volume's own array, as 3D Slicer and OHIF send them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samparser_monai.errors import InputError, unknown

MOST_POINTS = 1000
NEAR = 0.2  # of a box's sides: a point beyond the box that is meant for its organ
NOTHING = (
    "nothing to segment: place a foreground point, or draw a box (ROI), for label {label!r}; "
    "background points only take away"
)


def prompts_of(
    request: Mapping[str, Any], organs: Sequence[str], shape: Sequence[int], dimension: int
) -> list[dict[str, Any]]:
    """Return the prompts of a request.

    Args:
        request: ``label`` with ``roi`` [i0, i1, j0, j1, k0, k1], ``foreground`` and
            ``background`` points; points to an organ's name, and ``rois`` with a box to each, for
            several organs at once; ``coarse`` for the path of a coarse label volume.
        organs: that the model knows; a request without ``label`` asks for the first.
        shape: of the volume.
        dimension: 2 for one slice: ``slice``, or that of the last foreground point, or the middle
            of the box, also where ``slice`` lies outside of it.

    Raises:
        InputError: no prompt, an unknown label, or positions that cannot be used.
    """
    if "coarse" in request:
        return [{"mask": request["coarse"]}]
    label = request.get("label") or organs[0]
    if label not in organs:
        raise unknown("label", label, organs)
    asked = {name: request[name] for name in organs if request.get(name)}
    if request.get("foreground"):
        asked[label] = request["foreground"]
    rois = dict(_mapping("rois", request.get("rois") or {}))
    if request.get("roi"):
        rois[label] = request["roi"]
    background = positions("background", request.get("background") or [], shape)
    prompts = []
    for name in dict.fromkeys([*rois, *asked]):
        if name not in organs:
            raise unknown("label in rois", name, organs)
        points = positions(name, asked.get(name, []), shape)
        box = corners_of(rois[name], shape) if name in rois else None
        if box is not None and not is_meant(box, points):
            box = None
        if box is None and len(points) == 2 and request.get("two_points_are_a_box"):
            box, points = np.sort(points, axis=0), points[:0]
        prompts += _of_organ(name, box, points, background, _slice(request, box, points, dimension))
    if not prompts:
        raise InputError(NOTHING.format(label=label))
    return prompts


def organs_asked(request: Mapping[str, Any], known: Sequence[str]) -> list[dict[str, Any]]:
    """Return prompts by name: of ``organs`` or ``label`` of a request, or of all.

    Args:
        request: with organs, in a list or as one name.
        known: by the network, by name.

    Raises:
        InputError: the network knows none, or not this one.
    """
    if not known:
        raise InputError(
            "this model has not learned to find organs by name: train with the option names, "
            "or place a point or a box in Smart Edit"
        )
    asked = request.get("organs") or request.get("label") or list(known)
    asked = [asked] if isinstance(asked, str) else asked
    if not isinstance(asked, list):
        raise InputError(f"organs={asked!r:.80} must be names, of {', '.join(known)}")
    for organ in asked:
        if organ not in known:
            raise unknown("organ by name", organ, known)
    return [{"label": organ} for organ in dict.fromkeys(asked)]


def fixed_slices(request: Mapping[str, Any], depth: int) -> set[int]:
    """Return the slices that a request wants to stay as they are."""
    fixed = request.get("fixed") or []
    if not isinstance(fixed, list) or not all(type(k) is int and 0 <= k < depth for k in fixed):
        raise InputError(f"fixed={fixed!r:.80} must be a list of slices, from 0 to {depth - 1}")
    return set(fixed)


def _of_organ(
    label: str, box: np.ndarray | None, points: np.ndarray, background: np.ndarray, k: int | None
) -> list[dict[str, Any]]:
    """Return the prompts of one organ; on slice ``k`` alone where that is given."""
    if k is not None:
        points, background = points[points[:, 2] == k], background[background[:, 2] == k]
        box = None if box is None else np.c_[box[:, :2], [k, k]]
    if box is None and not len(points):
        raise InputError(NOTHING.format(label=label))
    prompts: list[dict[str, Any]] = []
    if box is not None:
        prompts.append({"label": label, "box": box.ravel().tolist()})
    if len(both := [*points.tolist(), *background.tolist()]):
        kinds = [1] * len(points) + [0] * len(background)
        prompts.append({"label": label, "points": both, "point_labels": kinds})
    return prompts


def _slice(
    request: Mapping[str, Any], box: np.ndarray | None, points: np.ndarray, dimension: int
) -> int | None:
    if dimension == 3:
        return None
    middle = None if box is None else int(box[:, 2].mean())
    if request.get("slice") is not None:
        k = int(_numbers("slice", [request["slice"]], (1,))[0])
        # 3D Slicer sends the mm of its slice where it has no click
        beside = box is not None and not len(points) and not box[0, 2] <= k <= box[1, 2]
        return middle if beside else k
    return int(points[-1, 2]) if len(points) else middle


def is_meant(box: np.ndarray, points: np.ndarray) -> bool:
    """Tell whether foreground points (N, 3) lie in a box (2, 3), or near it; or there are none.

    3D Slicer sends an ROI with every click, also that of the organ before.
    """
    beyond = np.maximum(NEAR * (box[1] - box[0]), 1)
    inside = (points >= box[0] - beyond) & (points <= box[1] + beyond)
    return not len(points) or bool(inside.all(1).any())


def positions(name: str, value: Any, shape: Sequence[int]) -> np.ndarray:
    """Return points (N, 3) that lie in a volume of this shape."""
    if not isinstance(value, list | tuple) or len(value) > MOST_POINTS:
        raise InputError(
            f"{name} must be a list of at most {MOST_POINTS} points [i, j, k], not "
            + (f"{len(value)} of them" if isinstance(value, list | tuple) else f"{value!r:.80}")
        )
    if not value:
        return np.empty((0, 3), dtype=int)
    points = np.rint(_numbers(name, value, (len(value), 3))).astype(int)
    outside = points[((points < 0) | (points >= np.asarray(shape))).any(1)]
    if len(outside):
        raise InputError(
            f"{name}: point {outside[0].tolist()} lies outside the volume of {tuple(shape)} voxels"
        )
    return points


def corners_of(roi: Any, shape: Sequence[int]) -> np.ndarray:
    """Return the corners (2, 3) of [i0, i1, j0, j1, k0, k1], sorted and clipped to the volume.

    A viewer's ROI is in mm along R, A and S; in a volume of other axes its pairs come unsorted.
    """
    corners = np.sort(_numbers("roi", roi, (6,)).reshape(3, 2), axis=1).T
    last = np.asarray(shape) - 1
    if (corners[1] < 0).any() or (corners[0] > last).any():
        raise InputError(f"roi={roi} lies outside the volume of {tuple(shape)} voxels: move it")
    return np.rint(np.clip(corners, 0, last)).astype(int)


def _numbers(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        wanted = {(6,): "six numbers [i0, i1, j0, j1, k0, k1]", (1,): "a slice number"}
        raise InputError(
            f"{name} must be {wanted.get(shape, 'points [i, j, k]')}, all finite, not {value!r:.80}"
        )
    return numbers


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must give a box to each organ's name, not {value!r:.80}")
    return value
