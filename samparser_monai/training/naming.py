"""Training that asks for organs by their names beside their boxes."""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import Dataset
from monai.inferers import Inferer
from monai.losses import DiceLoss
from monai.transforms import Transform
from torch import Tensor, nn
from torch.nn import functional as F

from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.bodies import body_box, share_of
from samparser_monai.geometry.boxes import boxes_of
from samparser_monai.geometry.frames import frame_scale, unless_ignored
from samparser_monai.sam import SamNetwork
from samparser_monai.training.transforms import EpochSeeded, Item, seed_of

log = logging.getLogger(__name__)
INSIDE = 0.25
"""Weight of the cross entropy inside an organ, beside that outside."""


class RandNamesd(EpochSeeded, Transform):
    """Ask for the organs of a slice by their names, beside its boxes.

    ``names`` (N) says by which name each prompt asks, -1: by its box. A slice without a box is
    always asked by names: of the organs that were labelled in its case (``named``), also those
    that it does not show. ``shown``, ``whole`` and ``body`` say where they are.

    Args:
        organs: that can be asked for by name.
        share: of the slices with boxes that are asked by names too, others in every epoch.
        image_size: side of the model's input, in pixels.
        mask_size: of its low-resolution masks.
        count: of names at most, first those that are shown.
    """

    def __init__(
        self, organs: Sequence[str], share: float, image_size: int, mask_size: int, count: int = 32
    ) -> None:
        if not 0 < share <= 1:
            raise InputError(f"name_share must be above 0 and at most 1, not {share}")
        self.organs, self.share = list(organs), share
        self.image_size, self.mask_size, self.count = image_size, mask_size, count

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add to ``boxes``; ``label`` follows."""
        boxed = len(data["boxes"])
        random = np.random.default_rng([seed_of(self.seed, data), 1])  # 1: not a box's draw
        if not data["named"] or (boxed and random.random() >= self.share):
            return beside(data, [])
        shown = data["shown"].tolist()
        names = [self.organs.index(organ) for organ in data["named"]]
        if len(names) > self.count:
            names = sorted(random.permutation(names).tolist(), key=lambda n: n not in shown)
        names = names[: self.count]
        label = torch.zeros(len(names), 1, self.mask_size, self.mask_size)
        for place, name in enumerate(names):
            if name in shown:
                label[place] = data["whole"][shown.index(name)]
        if "ignored" in data:
            label = unless_ignored(label, data["ignored"], self.image_size, self.mask_size)
        return {**beside(data, names), "label": torch.cat([data["label"], label])}


class AlsoNamed(EpochSeeded, Transform):
    """Ask for the organs of a slice by their names, beside its boxes: to judge both.

    It draws nothing, but stands behind what does: the boxes are loosened, the body's are not.

    Args:
        organs: see RandNamesd.
    """

    def __init__(self, organs: Sequence[str]) -> None:
        self.organs = list(organs)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add to ``boxes``; ``names`` says which is which."""
        return beside(data, [self.organs.index(organ) for organ in data["named"]])


def beside(data: Mapping[Hashable, Any], names: Sequence[int]) -> Item:
    """Return an item with prompts by names beside its boxes: the body's box to each."""
    asked = torch.tensor([-1] * len(data["boxes"]) + list(names), dtype=torch.long)
    boxes = torch.cat([data["boxes"], data["body"].repeat(len(names), 1)])
    return {**data, "names": asked, "boxes": boxes}


class BoxesJudged(Transform):
    """Leave out of ``judged`` what was asked by name: SAM as published knows no names."""

    def __call__(self, data: Item) -> Item:
        """Keep what boxes have asked for."""
        return {**data, "judged": [one for one in data["judged"] if not one["by_name"]]}


def start_at_boxes(
    network: SamNetwork,
    dataset: Dataset,
    load: Callable[[Item], Item],
    organs: Sequence[str],
    min_area: int = 1,
    most: int = 500,
) -> None:
    """Let names that nothing has trained begin as the mean box of their organ in the body.

    From the box of the whole body, where they are else, a small organ is found late or never.

    Args:
        network: that knows organs by name.
        dataset: of slices to train on.
        load: from its items to ``image`` CxHxW, 0..255, and ``truth``, HxW.
        organs: in the order of the truth's values.
        min_area: of an organ on a slice, in pixels, that counts.
        most: slices that are looked at, evenly chosen.
    """
    names, side = network.named_prompts, network.prompt_encoder.input_image_size[0]
    if names is None or "named" not in dataset.data[0] or names.tokens.any():
        return  # there are none, or they were trained before
    found = defaultdict[str, list[Tensor]](list)
    for item in dataset.data[:: math.ceil(len(dataset.data) / most)]:
        loaded = load(item)
        truth = loaded["truth"]
        body = body_box(torch.as_tensor(loaded["image"])[0], side)[None]
        for place, organ in enumerate(organs, start=1):
            if (mask := truth == place).sum() >= max(min_area, 1):
                box = torch.from_numpy(boxes_of(mask[None])) * frame_scale(truth.shape, side)[0]
                found[organ].append(share_of(body, box))
    for place, organ in enumerate(names.organs):
        if organ in found:
            names.places[place] = torch.cat(found[organ]).mean(0)
        else:
            log.warning("%s: no slice for training shows it, it will not be found by name", organ)


class Answer(NamedTuple):
    """What a step of training was answered: T logits Tx1xhxw, predicted IoU Tx1, named (T)."""

    logits: Tensor
    iou: Tensor
    named: Tensor


class PromptInferer(Inferer):
    """Ask a network for boxes, clicks and names, and keep its predicted IoU."""

    def __call__(
        self,
        inputs: Tensor,
        network: nn.Module,
        boxes: Sequence[Tensor],
        features: Tensor | None = None,
        names: Sequence[Tensor] | None = None,
        clicks: Sequence[Tensor] | None = None,
        **_: Any,
    ) -> Answer:
        """Return the answers to all prompts of pictures (Bx3xHxW), or of their features."""
        logits, iou = network(inputs, boxes, features, names=names, clicks=clicks, with_iou=True)
        if names is None:
            return Answer(logits, iou, torch.zeros(len(logits), dtype=torch.bool))
        return Answer(logits, iou, torch.cat([*names]) >= 0)


class PromptLoss(nn.Module):
    """The loss of boxes, that of names, and the error of the predicted IoU.

    Args:
        boxes: from logits and label (Tx1xhxw) to the loss of what boxes ask for.
        bce: weight of the binary cross entropy of names, beside the Dice of the organs that a
            slice shows. Its mean outside the organ, and INSIDE of that inside, are added: what is
            rarely shown would else be learned as absent.
        iou: weight of the squared error of the predicted IoU, as SAM trains it; of what is not
            there it is 0.
    """

    def __init__(self, boxes: nn.Module, bce: float = 1.0, iou: float = 0.0) -> None:
        at_least(0.0, name_bce=bce, iou_weight=iou)
        super().__init__()
        self.boxes, self.bce, self.iou = boxes, bce, iou
        self.dice = DiceLoss(sigmoid=True)

    def forward(self, answer: Answer, label: Tensor) -> Tensor:
        """Return the means over boxes and over names, added; the label is as in BoxPromptLoss."""
        if not len(label):  # an augmented view may show none of a picture's objects
            return answer.logits.sum()
        named = answer.named.to(label.device)
        by = [(of, loss) for of, loss in ((~named, self.boxes), (named, self.names)) if of.any()]
        loss = torch.stack([loss(answer.logits[of], label[of]) for of, loss in by]).sum()
        if self.iou:
            error = F.mse_loss(answer.iou[:, 0], iou_of(answer.logits.detach(), label))
            loss = loss + self.iou * error
        return loss

    def names(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of what names ask for."""
        shown = label.flatten(1).amax(1) > 0
        pixels = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
        inside, outside = (
            (pixels * share).flatten(1).sum(1) / share.flatten(1).sum(1).clamp(min=1)
            for share in (label.clamp(0, 1), (1 - label).clamp(0, 1))
        )
        loss = self.bce * (outside + INSIDE * inside).mean()
        return loss + self.dice(logits[shown], label[shown]) if shown.any() else loss


def iou_of(logits: Tensor, label: Tensor) -> Tensor:
    """Return the IoU (T) of masks and labels (0 to 1, -1: void); 0 where both are empty."""
    found, truth = ((t & (label >= 0)).flatten(1) for t in (logits > 0, label > 0.5))
    return (found & truth).sum(1) / (found | truth).sum(1).clamp(min=1)
