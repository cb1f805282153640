"""From prompts on a few slices to a whole organ: each slice is asked with its neighbour's mask.

A slice's prompt is what was found on its neighbour, as a box with a margin and as a mask prompt.
scripts/propagation.py measures what a rule and its numbers are worth.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.boxes import MARGIN, widened
from samparser_monai.volumes.appearance import Appearance
from samparser_monai.volumes.asking import Ask, Asking, together
from samparser_monai.volumes.refinement import after_clicks
from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.starts import started
from samparser_monai.volumes.targets import SlicePrompt, Target

Masks = dict[int, Mask]
"""Those of one target, by slice of the session's view."""
AT_ONCE = 32
"""Slices that are asked once more at a time: their masks are in memory together."""


class Propagation:
    """Spread a target over the slices between and around its prompts.

    From each prompted slice a chain of masks runs up and one runs down. Between two of them the
    two chains that meet are averaged, the nearer one weighs more. Beyond the last one, a chain
    ends with the span of a 3-D box; or, where there is none, when the mask has become small, when
    it changes abruptly, or when the network thinks little of it. A 3-D box without a prompt on a
    slice starts on the slice whose mask is surest. What looks unlike the organ on those slices is
    cut from every mask. At the end each slice is asked once more, with the mean of what it and
    its neighbours show.

    Args:
        margin: by which a neighbour's box is widened, as a share of its sides.
        slope: how far a surface may move sideways from slice to slice, in slice distances.
        starts: how many slices of a 3-D box are tried as its start.
        rounds: how often the slices are asked once more.
        evidence: weight of the intensities' evidence against a mask; 0 leaves masks as they are.
        least_iou: a chain ends below this share of its first predicted IoU,
        least_iou_several: or, where several slices have boxes, below this one,
        least_dice: or this overlap (Dice) with the slice before,
        most_growth: or when the area grows to more than this multiple,
        least_area: or falls below this many low-resolution pixels.
    """

    def __init__(
        self,
        margin: float = MARGIN,
        slope: float = 2.0,
        starts: int = 12,
        rounds: int = 1,
        evidence: float = 1.5,
        least_iou: float = 0.72,
        least_iou_several: float = 0.8,
        least_dice: float = 0.5,
        most_growth: float = 1.6,
        least_area: int = 12,
    ) -> None:
        if not 0 <= margin < 1:
            raise InputError(f"margin={margin} must be from 0 to 1")
        at_least(1, starts=starts)
        at_least(0, rounds=rounds)
        at_least(0.0, evidence=evidence)
        self.margin, self.slope, self.starts, self.rounds = margin, slope, starts, rounds
        self.evidence = evidence
        self.least_area = least_area
        self.least_iou, self.least_iou_several = least_iou, least_iou_several
        self.least_dice, self.most_growth = least_dice, most_growth

    def __call__(self, session: VolumeSession, target: Target) -> Asking[Masks]:
        """Find the masks of a target by slice of the session's view."""
        starts = yield from started(session, target.label, target.starting())
        if not starts:
            starts = yield from self.start(target)
        looks = self.appearance(session, starts)
        starts = {k: self.cut(session, looks, k, mask) for k, mask in starts.items()}
        found = yield from self.spread(session, target, looks, starts)
        return (yield from self.corrected(session, target, looks, found))

    def spread(
        self, session: VolumeSession, target: Target, looks: Appearance, starts: Masks
    ) -> Asking[Masks]:
        """Find the masks that follow from those of some slices, and these."""
        first, last = target.span or (0, session.view.depth - 1)
        found, started = dict(starts), sorted(starts)
        ends = [first - 1, *started, last + 1]
        chains, ways = [], []
        for n, k in enumerate(started, start=1):
            for slices in (range(k - 1, ends[n - 1], -1), range(k + 1, ends[n + 1])):
                sure = target.span is not None or slices.stop in started
                chains.append(self.chain(session, target, looks, starts[k], slices, sure))
                ways.append(slices)
        for slices, followed in zip(ways, (yield from together(chains)), strict=True):
            for j, mask in followed.items():
                found[j] = mask if j not in found else met(found[j], mask, slices, j)
        for _ in range(self.rounds):
            # in their order, as the other targets: what is made of a slice serves all of them
            before, left = dict(found), sorted(found.keys() - starts.keys())
            for n in range(0, len(left), AT_ONCE):
                some = left[n : n + AT_ONCE]
                rules = [self.again(session, target, looks, before, k) for k in some]
                found |= zip(some, (yield from together(rules)), strict=True)
        return found

    def corrected(
        self, session: VolumeSession, target: Target, looks: Appearance, found: Masks
    ) -> Asking[Masks]:
        """Find masks after the clicks on them, as ``refinement`` does.

        A slice that shows nothing yet is first asked by what the nearest one shows.
        """
        found = dict(found)
        for k, prompt in sorted(target.prompts.items()):
            if prompt.points is None or session.agrees(found.get(k), prompt.points):
                continue
            near = min(found, key=lambda n: abs(n - k), default=None)
            if near is None or not (near == k or prompt.starts):
                continue
            mask = found[near]
            if near != k and (asked := self.prompt(session, target, mask, k)) is not None:
                mask = yield from self.follow(session, looks, k, mask, asked)
            found[k] = after_clicks(session, k, mask, prompt.points)
        return found

    def start(self, target: Target) -> Asking[Masks]:
        """Find the mask of the slice, of several, whose mask is surest in the 3-D box.

        Sure is one of a high predicted IoU, and of a high stability: it stays the same when
        logits are cut at -1 or at 1. A mask that fills a box far too large has neither.
        """
        assert target.span is not None
        assert target.box is not None
        whole, (first, last) = SlicePrompt(target.box), target.span
        tried = torch.linspace(first, last, self.starts + 2)[1:-1].round().int().unique().tolist()
        masks = yield [Ask(k, target.label, whole) for k in tried]
        found = dict(zip(tried, masks, strict=True))
        best = max(tried, key=lambda k: found[k].iou * found[k].stability)
        return {best: found[best]}

    def appearance(self, session: VolumeSession, found: Masks) -> Appearance:
        """Return what the organ of masks, by slice, looks like."""
        pictures = [session.picture(k, len(mask.logits)) for k, mask in found.items()]
        return Appearance(pictures, [mask.logits for mask in found.values()], self.evidence)

    def cut(self, session: VolumeSession, looks: Appearance, k: int, mask: Mask) -> Mask:
        """Return a mask on slice ``k`` without what looks unlike the organ."""
        return replace(mask, logits=looks.cut(session.picture(k, len(mask.logits)), mask.logits))

    def again(
        self, session: VolumeSession, target: Target, looks: Appearance, found: Masks, k: int
    ) -> Asking[Mask]:
        """Find the mask of slice ``k`` after the mean of what it and its neighbours show."""
        near = [found[j].logits for j in (k - 1, k, k + 1) if j in found]
        mean = replace(found[k], logits=torch.stack(near).mean(0))
        prompt = self.prompt(session, target, mean, k)
        if prompt is None:
            return found[k]
        return (yield from self.follow(session, looks, k, mean, prompt))

    def chain(
        self,
        session: VolumeSession,
        target: Target,
        looks: Appearance,
        mask: Mask,
        slices: Sequence[int],
        sure: bool,
    ) -> Asking[Masks]:
        """Follow a mask from slice to slice while it can be.

        Args:
            session: of the volume.
            target: whose box on a slice, where it is known, no prompt leaves.
            looks: of the organ.
            mask: on the slice before the first.
            slices: in their order.
            sure: the object is on all of them: only what has become too small ends the chain.
        """
        first, found = mask.iou, {}
        for k in slices:
            prompt = self.prompt(session, target, mask, k)
            if prompt is None:
                break
            new = yield from self.follow(session, looks, k, mask, prompt)
            now, before = new.logits > 0, mask.logits > 0
            if now.sum() < self.least_area:
                break
            several = target.limit(k) is not None
            least = first * (self.least_iou_several if several else self.least_iou)
            if not sure and (new.iou < least or self.lost(now, before)):
                break
            found[k] = mask = new
        return found

    def prompt(
        self, session: VolumeSession, target: Target, mask: Mask, k: int
    ) -> SlicePrompt | None:
        """Return the widened box of a mask, inside the target's on slice ``k``; None if empty."""
        box, limit = mask.box(session.backbone.image_size), target.limit(k)
        if box is None:
            return None
        box = widened(box, self.margin)
        if limit is not None:
            limit = limit if target.box is not None else widened(limit, self.margin)
            box = torch.cat([torch.maximum(box[:2], limit[:2]), torch.minimum(box[2:], limit[2:])])
        return SlicePrompt(box)

    def follow(
        self, session: VolumeSession, looks: Appearance, k: int, mask: Mask, prompt: SlicePrompt
    ) -> Asking[Mask]:
        """Find the mask on slice ``k`` of what ``mask`` shows on its neighbour.

        Asked with the neighbour's mask, the network tends to say too much, without it too little:
        the two are averaged. What is farther from the neighbour's mask than an organ's surface
        can lead is cut off, and what looks unlike the organ.
        """
        one, other = yield [Ask(k, mask.label, prompt, given) for given in (mask.logits, None)]
        logits = (one.logits + other.logits) / 2
        reach = session.sideways(self.slope, len(logits))
        near = F.max_pool2d((mask.logits > 0)[None].float(), 2 * reach + 1, 1, reach)[0] > 0
        logits = torch.where(near, logits, logits.clamp(max=-1))
        found = Mask(mask.label, logits, (one.iou + other.iou) / 2)
        return self.cut(session, looks, k, found)

    def lost(self, now: Tensor, before: Tensor) -> bool:
        """Tell whether a mask is no longer the object that it was on the slice before."""
        shared = 2 * (now & before).sum() / (now.sum() + before.sum())
        grown = now.sum() > self.most_growth * before.sum()
        return bool(shared < self.least_dice or grown)


def met(one: Mask, other: Mask, slices: range, k: int) -> Mask:
    """Average two chains that meet on slice ``k``; the one of ``slices`` weighs by its nearness."""
    weight = (len(slices) - slices.index(k)) / (len(slices) + 1)
    logits = (1 - weight) * one.logits + weight * other.logits
    return replace(one, logits=logits, iou=(1 - weight) * one.iou + weight * other.iou)
