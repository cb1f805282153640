"""What a target is first asked for: by its boxes, or by clicks and the name of its organ."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from samparser_monai.volumes.asking import Ask, Asking
from samparser_monai.volumes.refinement import after_clicks
from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.targets import SlicePrompt, Target

if TYPE_CHECKING:
    from samparser_monai.volumes.session import VolumeSession

UNSURE = 0.5
"""Of a predicted IoU: the same at which an organ is found nowhere by its name."""
ALIKE = 0.75
"""Of the Dice of two masks: from here on they show one thing."""
NEIGHBOURS = np.ones((3, 3))  # of a pixel, 8


def copied(session: "VolumeSession", target: Target) -> Asking[dict[int, Mask]]:
    """Ask for a target on each of its slices: by its box first, which clicks then change."""
    prompts = target.on_its_slices()
    asked = {k: p if p.box is None else SlicePrompt(p.box) for k, p in prompts.items()}
    found = yield from started(session, target.label, asked)
    for k, prompt in prompts.items():
        if prompt.box is not None and prompt.points is not None:
            found[k] = after_clicks(session, k, found[k], prompt.points)
    return found


def started(
    session: "VolumeSession", label: str, prompts: Mapping[int, SlicePrompt]
) -> Asking[dict[int, Mask]]:
    """Ask for an organ by prompts on slices.

    One click says little of what it means: the organ, a vessel in it, the body. Where the network
    knows the organ by name, the name is asked beside the click, and says which it is.
    """
    asks = [Ask(k, label, prompt) for k, prompt in prompts.items()]
    clicked: dict[int, Tensor] = {}
    if (name := session.name_of(label)) is not None:
        clicked |= {
            k: p.points for k, p in prompts.items() if p.box is None and p.points is not None
        }
    for k, points in clicked.items():
        inside = SlicePrompt(session.body(k), points[points[:, 2] > 0])
        asks.append(Ask(k, label, inside, name=name))
    masks = yield asks
    found = dict(zip(prompts, masks, strict=False))
    for (k, points), mask in zip(clicked.items(), masks[len(found) :], strict=True):
        named = under(mask, points, session.backbone.image_size)
        if named is not None and meant(named, found[k]) is named:
            found[k] = after_clicks(session, k, named, points)
    return found


def meant(named: Mask, plain: Mask) -> Mask:
    """Return which of the answers to clicks with a name and without it is the organ.

    Where both show the same, it is the surer one; else that by name, unless it is unsure.
    """
    if named.iou < UNSURE:
        return plain
    shown, other = named.logits > 0, plain.logits > 0
    alike = 2 * (shown & other).sum() / (shown.sum() + other.sum())
    return plain if alike >= ALIKE and plain.iou > named.iou else named


def under(mask: Mask, points: Tensor, image_size: int) -> Mask | None:
    """Return the parts of a mask that foreground points (Px3) lie in; None where none does.

    A hole in a part, a vessel say, is in it.
    """
    shown = (mask.logits > 0).cpu().numpy()
    numbered, _ = ndimage.label(ndimage.binary_fill_holes(shown), NEIGHBOURS)
    inside = points[points[:, 2] > 0, :2] * len(mask.logits) / image_size
    columns, rows = inside.long().T.numpy()
    own = set(numbered[rows, columns].tolist()) - {0}
    if not own:
        return None
    kept = torch.from_numpy(np.isin(numbered, list(own))).to(mask.logits.device)
    return replace(mask, logits=torch.where(kept, mask.logits, -mask.logits.abs()))
