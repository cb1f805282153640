"""On which side of the body something lies: of kidneys, lungs and adrenal glands one on each."""

import numpy as np
from torch import Tensor

from samparser_monai.geometry.bodies import body_box
from samparser_monai.geometry.frames import frame_scale
from samparser_monai.volumes.view import View

BESIDE = 0.05
"""Of an organ's draft: with less on a side, the one of that side is not there yet."""


def side_of(view: View, k: int, point: Tensor, image_size: int) -> bool:
    """Tell on which side of the body's middle a point lies.

    Args:
        view: of the volume.
        k: the point's slice.
        point: x, y in pixels of the model's square.
        image_size: side of that square.
    """
    place = k if view.lateral == 2 else point[view.lateral]
    return bool(place > middle_of(view, k, image_size))


def shown_beside(view: View, draft: np.ndarray, k: int, point: Tensor, image_size: int) -> bool:
    """Tell whether a draft (CxRxS, bool) shows its organ on the side where a point lies."""
    axis = view.lateral
    scale = 1.0 if axis == 2 else float(frame_scale(view.size, image_size)[0][axis])
    cut = round(middle_of(view, k, image_size) / scale)
    sides = np.array_split(np.moveaxis(draft, axis, 0), [cut])
    shown = np.count_nonzero(sides[side_of(view, k, point, image_size)])
    return bool(shown > BESIDE * np.count_nonzero(draft))


def middle_of(view: View, k: int, image_size: int) -> float:
    """Return the body's middle: a slice, or a place on slice ``k`` in the model's square."""
    axis = view.lateral
    if axis == 2:
        return view.depth / 2
    body = body_box(view.picture(k), image_size)
    return float(body[axis] + body[axis + 2]) / 2
