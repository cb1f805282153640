"""Where the patient lies in a picture, so that a place can be told as one in the body."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from samparser_monai.geometry.frames import into_frame

SIDE = 256
LEAST = 20
"""Grey value, of 0 to 255, of what is no air."""
GAP = 12
"""Pieces that lie no farther apart, in pixels of SIDE, are of one body where fat is black."""
WHOLE = 0.8
"""Of those pieces together: a piece that covers as much is the body, arms beside it are not."""


def body_box(picture: Tensor, image_size: int) -> Tensor:
    """Return the box (4,) of the body, XYXY in the model's square; of air the whole square.

    The body is the largest connected piece; a table or a blanket beside it does not count. In a
    window whose black holds fat too the organs are pieces of their own, and the body all of them.

    Args:
        picture: HxW, windowed to 0..255.
        image_size: side of the model's square, in pixels.
    """
    shown = into_frame(picture[None].float(), SIDE)[0].numpy() > LEAST
    opened = np.asarray(ndimage.binary_opening(shown, iterations=3))
    numbered, count = ndimage.label(opened)
    if not count:
        return torch.tensor([0.0, 0.0, image_size, image_size])
    body = numbered == 1 + np.bincount(numbered.ravel())[1:].argmax()
    if count > 1:
        grown = ndimage.maximum_filter(np.pad(opened, GAP), 2 * GAP + 1)
        closed, _ = ndimage.label(ndimage.minimum_filter(grown, 2 * GAP + 1)[GAP:-GAP, GAP:-GAP])
        together = closed == closed[body][0]
        if ndimage.binary_fill_holes(body).sum() < WHOLE * together.sum():
            body = opened & together
    rows, columns = ndimage.find_objects(body.astype(int))[0]
    box = torch.tensor([columns.start, rows.start, columns.stop, rows.stop])
    return box * (image_size / SIDE)


def within(box: Tensor, share: Tensor) -> Tensor:
    """Return boxes (Nx4) that lie in others (Nx4) at these shares (Nx4) of their sides."""
    corner, sides = box[:, :2], box[:, 2:] - box[:, :2]
    return torch.cat([corner + share[:, :2] * sides, corner + share[:, 2:] * sides], dim=1)


def share_of(box: Tensor, inner: Tensor) -> Tensor:
    """Return where boxes (Nx4) lie in others (Nx4), in shares of their sides: undoes within."""
    corner, sides = box[:, :2], box[:, 2:] - box[:, :2]
    return torch.cat([(inner[:, :2] - corner) / sides, (inner[:, 2:] - corner) / sides], dim=1)
