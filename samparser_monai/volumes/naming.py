"""A whole volume asked by names: organs that nobody has placed a prompt in.

Each slice is asked for all organs in one pass of the decoder. What looks unlike an organ on its
surest slices is cut from all. What belongs to it is one connected piece in 3-D, or two, as far as
it can be followed from its largest slice; its boxes are then asked on its slices as if people had
drawn them.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Literal, get_args

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from samparser_monai.errors import at_least, share_of_all, unknown
from samparser_monai.geometry.boxes import widened
from samparser_monai.geometry.components import instances_of
from samparser_monai.volumes.appearance import Appearance
from samparser_monai.volumes.organ_names import pieces_of
from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.targets import SlicePrompt, Target

Stage = Literal["name", "components", "refined"]
SUREST = 12
"""Slices that show what an organ looks like: those of a large mask and a high predicted IoU."""
EDGE = 2  # low-resolution pixels
Masks = dict[int, Mask]
"""Those of one organ, by slice of the session's view."""


class Naming:
    """Find organs by their names.

    Args:
        by_name: how far to go: ``name``, what the names' masks show; ``components``, of it what
            belongs to the organ; ``refined``, that asked again by its boxes.
        least_area: a slice does not show an organ whose mask has fewer low-resolution pixels,
        least_iou: or whose predicted IoU is lower; 0: that does not count, for it takes a long
            training until it tells a slice's edge of the organ from one beyond it.
        least_best: an organ is not there at all whose predicted IoU is lower than this on its
            surest slice.
        pieces: organ -> of how many it consists; 0: of any number; see pieces_of. Two lie on
            the two sides of the body.
        least_piece: the second piece is at least this share of the first; from 0 to 1.
        smooth: standard deviation, in mm across the slices, of the mean of what neighbours show;
            not of ``name``.
        evidence: weight of the intensities' evidence against a mask, as in Propagation; not of
            ``name``.
        slope: how far a piece may grow sideways from slice to slice, away from its largest one, in
            slice distances: beside it begins another organ that looks alike. Labelled livers,
            spleens, pancreases and kidneys lose 0.7 % by 1 at most.
    """

    def __init__(
        self,
        by_name: Stage = "refined",
        least_iou: float = 0.0,
        least_area: int = 12,
        pieces: Mapping[str, int] | None = None,
        least_piece: float = 0.2,
        smooth: float = 4.0,
        evidence: float = 1.0,
        least_best: float = 0.5,
        slope: float = 1.0,
    ) -> None:
        if by_name not in get_args(Stage):
            raise unknown("by_name", by_name, get_args(Stage))
        at_least(1, least_area=least_area)
        at_least(0.0, smooth=smooth, evidence=evidence, slope=slope)
        at_least(0.0, least_iou=least_iou, least_best=least_best)
        at_least(0, **{f"pieces of {organ}": count for organ, count in (pieces or {}).items()})
        self.by_name, self.least_area = by_name, least_area
        self.least_iou, self.least_best = least_iou, least_best
        self.pieces = dict(pieces or {})
        self.least_piece, self.slope = share_of_all("least_piece", least_piece), slope
        self.smooth, self.evidence = (0.0, 0.0) if by_name == "name" else (smooth, evidence)

    def __call__(
        self, session: VolumeSession, organs: Sequence[str]
    ) -> tuple[list[Target], list[tuple[int, Mask]]]:
        """Return what is to be asked again by boxes, and the masks that stay, by slice.

        Raises:
            InputError: the network does not know an organ by name.
        """
        found, middle = self.everywhere(session, organs)
        if self.by_name != "name":
            for organ, masks in found.items():
                self.cut(session, masks)
                reach = session.sideways(self.slope, session.backbone.mask_size)
                self.keep_own(organ, masks, middle, reach)
        if self.by_name == "refined":
            return [t for masks in found.values() for t in self.targets(session, masks)], []
        return [], [(k, mask) for masks in found.values() for k, mask in masks.items()]

    def everywhere(
        self, session: VolumeSession, organs: Sequence[str]
    ) -> tuple[dict[str, Masks], tuple[int, float]]:
        """Return the masks of all organs, and the middle of the body.

        That is the axis of a stack of masks (slices, rows, columns) that runs from side to side,
        and the place along it. Only masks that show something are kept, of
        organs that are there.
        """
        known = session.network.named_prompts
        names, taught = ([], []) if known is None else (known.organs, known.taught)
        for what, some, right in (
            ("organ by name:", organs, taught),
            ("organ in pieces:", self.pieces, names),
        ):
            for organ in some:
                if organ not in right:
                    raise unknown(what, organ, right)
        asked = torch.tensor([names.index(organ) for organ in organs])
        found: dict[str, Masks] = {organ: {} for organ in organs}
        axis = session.view.lateral
        weights, places, side = [], [], session.backbone.image_size
        slices = range(session.view.depth)[::-1]  # the first ones are asked again first
        ious: dict[int, list[float]] = {}

        def shown() -> Iterator[Tensor]:
            for k in slices:
                logits, expected = session.decode(k, names=asked)
                ious[k] = expected.tolist()
                yield logits.sigmoid()

        for k, shares in zip(
            slices, smoothed(shown(), self.smooth / session.view.spacing[2]), strict=True
        ):
            logits = shares.logit(1e-6)
            for organ, mask, iou in zip(organs, logits, ious[k], strict=True):
                sure = not self.least_iou or iou >= self.least_iou
                if sure and (mask > 0).sum() >= self.least_area:
                    kept = mask.half() if self.by_name == "refined" else mask
                    found[organ][k] = Mask(organ, kept, iou)
            left, top, right, bottom = session.body(k).tolist()
            weights.append((right - left) * (bottom - top))
            centre = ((left + right) / 2, (top + bottom) / 2, k)[axis]
            places.append(centre * (logits.shape[-1] / side if axis < 2 else 1))
        middle = float(np.average(places, weights=weights))
        for masks in found.values():
            if max((mask.iou for mask in masks.values()), default=0) < self.least_best:
                masks.clear()
        return found, (2 - axis, middle)

    def cut(self, session: VolumeSession, masks: Masks) -> None:
        """Take away what looks unlike an organ on its surest slices; change ``masks`` in place.

        Its edge stays: there a pixel is a mean of the organ and what lies beside it.
        """
        if not masks or not self.evidence:
            return

        def surety(k: int) -> float:
            return masks[k].iou * int((masks[k].logits > 0).sum())

        def picture(k: int) -> Tensor:
            return session.picture(k, len(masks[k].logits)).cpu()

        surest = sorted(masks, key=surety, reverse=True)[:SUREST]
        shown = [masks[k].logits for k in surest]
        looks = Appearance([picture(k) for k in surest], shown, self.evidence)
        for k, mask in list(masks.items()):
            alike = (looks.cut(picture(k), mask.logits) > 0)[None].float()
            near = F.max_pool2d(alike, 2 * EDGE + 1, 1, EDGE)[0] > 0
            mask.logits = torch.where(near, mask.logits, -mask.logits.abs())
            if (mask.logits > 0).sum() < self.least_area:
                del masks[k]

    def keep_own(self, organ: str, masks: Masks, middle: tuple[int, float], reach: int) -> None:
        """Take away what does not belong to an organ; change ``masks`` in place."""
        count = self.pieces.get(organ, pieces_of(organ))
        if not masks or not count:
            return
        first = min(masks)
        shape = (max(masks) - first + 1, *next(iter(masks.values())).logits.shape)
        stack = np.zeros(shape, bool)
        for k, mask in masks.items():
            stack[k - first] = (mask.logits > 0).numpy()
        numbered, _ = ndimage.label(stack, np.ones((3, 3, 3)))
        pieces = [numbered == n for n in self._own(numbered, count, first, middle)]
        own = np.any([followed(piece, reach) for piece in pieces], axis=0)
        for k in list(masks):
            inside = torch.from_numpy(own[k - first])
            if not inside.any():
                del masks[k]
                continue
            logits = masks[k].logits
            masks[k].logits = torch.where(inside, logits, -logits.abs())

    def _own(
        self, numbered: np.ndarray, count: int, first: int, middle: tuple[int, float]
    ) -> list[int]:
        """Return the numbers of the components that are the organ's, the largest first.

        Of two, one lies on each side of the body.
        """
        sizes = np.bincount(numbered.ravel())
        sizes[0] = 0
        order = [int(n) for n in np.argsort(-sizes, kind="stable") if sizes[n]]
        large = [n for n in order if sizes[n] >= self.least_piece * sizes[order[0]]]
        if count != 2:
            return large[:count]
        axis, place = middle
        centres = ndimage.center_of_mass(numbered > 0, numbered, large)
        sides = [centre[axis] + first * (axis == 0) > place for centre in centres]
        others = [n for n, side in zip(large, sides, strict=True) if side != sides[0]]
        return [large[0], *others[:1]]

    def targets(self, session: VolumeSession, masks: Masks) -> list[Target]:
        """Return a target to each part of an organ on each of its slices."""
        found, side = [], session.backbone.image_size
        for k, mask in masks.items():
            _, parts = instances_of((mask.logits > 0).numpy().astype(np.uint8), self.least_area)
            for part in parts:
                box = Mask(mask.label, torch.from_numpy(part), mask.iou).box(side)
                assert box is not None, "parts have pixels"
                prompts = {k: SlicePrompt(widened(box))}
                found.append(Target(mask.label, prompts, complete=True))
        return found


def followed(piece: np.ndarray, reach: int) -> np.ndarray:
    """Return what of a piece (slices, rows, columns) grows by ``reach`` pixels a slice at most.

    It is followed up and down from its largest slice.
    """
    found, largest = piece.copy(), int(piece.sum((1, 2)).argmax())
    for slices in (range(largest - 1, -1, -1), range(largest + 1, len(piece))):
        near = found[largest]
        for k in slices:
            found[k] &= ndimage.maximum_filter(near, 2 * reach + 1)
            near = found[k]
    return found


def smoothed(stack: Iterable[Tensor], sigma: float) -> Iterator[Tensor]:
    """Yield the Gaussian mean of each of a row of tensors with its neighbours, few in memory."""
    reach = math.ceil(2 * sigma) if sigma > 0.2 else 0
    weights = [math.exp(-0.5 * (n / sigma) ** 2) if n else 1.0 for n in range(-reach, reach + 1)]
    beyond: list[Tensor | None] = [None] * reach
    padded = chain(beyond, stack, beyond)
    window = deque(islice(padded, 2 * reach), maxlen=2 * reach + 1)
    for last in padded:
        window.append(last)
        near = [(w, t) for w, t in zip(weights, window, strict=True) if t is not None]
        yield torch.stack([w * t for w, t in near]).sum(0) / sum(w for w, _ in near)
