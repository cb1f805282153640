"""Transforms of promptable pictures; what is not about prompts is MONAI's."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable, Transform
from monai.utils import convert_to_tensor

from samparser_monai.errors import at_least, share_of_all
from samparser_monai.geometry.boxes import loosen_boxes
from samparser_monai.geometry.frames import coverage, frame_scale, framed, unless_ignored
from samparser_monai.geometry.run_lengths import masks_of, remasked

Item = dict[Hashable, Any]


class IntoFramed(Transform):
    """Bring ``image`` (3xHxW, or grey 1xHxW), ``boxes`` and ``label`` into the model's square.

    Args:
        image_size: side of the model's square input, in pixels.
        mask_size: side of its low-resolution masks; a pixel of ``label`` (Nx1xhxw) becomes the
            share of it that the instance covers, or -1 where ``ignored`` (HxW) has its larger part.
        mean, std: of the three channels, for pixels 0..255.
    """

    def __init__(
        self, image_size: int, mask_size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.image_size, self.mask_size = image_size, mask_size
        self.mean, self.std = mean, std

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add ``size`` (H, W), the picture's own, to the item and move the rest.

        ``grey`` is what the three channels of a grey picture are made by of one.
        """
        image = convert_to_tensor(data["image"], track_meta=False)
        size = tuple(image.shape[-2:])
        item = {**data, "size": size}
        if len(image) == 1:
            item["grey"] = [*self.mean, *self.std]
        item["image"] = framed(image, self.image_size, self.mean, self.std)
        if "boxes" in data:
            item["boxes"] = data["boxes"] * frame_scale(size, self.image_size)[0]
        if "label" in data:
            item["label"] = coverage(data["label"], self.image_size, self.mask_size)[:, None]
        if "ignored" in data:
            item["label"] = unless_ignored(
                item["label"], data["ignored"], self.image_size, self.mask_size
            )
        return item


class LoosenBoxesd(Transform):
    """Move each side of ``boxes`` outward by 0 to ``distance`` pixels.

    The draw depends on ``seed`` and on the item's name alone, so every method, process and epoch
    is asked with the same boxes.

    Args:
        distance: in pixels of a square of 1024; smaller ones take their share of it.
        image_size: side of the model's square input, in pixels.
        seed: of the draw.
    """

    tight_share = 0.0

    def __init__(self, distance: float, image_size: int, seed: int = 0) -> None:
        at_least(0.0, box_shift=distance)
        self.distance, self.image_size, self.seed = distance, image_size, seed

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Loosen the boxes of the item."""
        random = np.random.default_rng(seed_of(self.seed, data))
        boxes = data["boxes"]
        drawn = random.uniform(0, self.distance * self.image_size / 1024, boxes.shape)
        drawn *= random.random((len(boxes), 1)) >= self.tight_share
        _, size = frame_scale(data["size"], self.image_size)
        return {**data, "boxes": loosen_boxes(boxes, torch.from_numpy(drawn).to(boxes), size)}


class EpochSeeded(Randomizable):
    """What MONAI seeds at the start of an epoch; its draw does not depend on the items' order."""

    seed = 0
    drawn = ("seed",)  # of a view's augmentation nothing depends on it, see fingerprint

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "EpochSeeded":
        """Take the seed of an epoch."""
        super().set_random_state(seed, state)
        self.seed = int(self.R.randint(2**31))
        return self


class RandLoosenBoxesd(EpochSeeded, LoosenBoxesd):
    """The same with new boxes in every epoch, as the paper trains: 0 to 20 pixels.

    Args:
        distance, image_size: see LoosenBoxesd.
        tight_share: of the boxes, how many stay tight.
    """

    def __init__(self, distance: float, image_size: int, tight_share: float = 0.0) -> None:
        super().__init__(distance, image_size)
        self.tight_share = share_of_all("tight_share", tight_share)


class RandClicksd(EpochSeeded, Transform):
    """Ask for some instances by a click in the place of their box, others in every epoch.

    The click lies on any of the low-resolution pixels that the instance covers by more than half;
    one that covers none, or is asked for by name, is asked for as before. ``clicks`` (Nx3) are x
    and y in pixels of the model's square and 1; the third is -1 where the box or name asks.

    Args:
        share: of the instances.
        image_size: side of the model's square input, in pixels.
    """

    def __init__(self, share: float, image_size: int) -> None:
        self.share, self.image_size = share_of_all("click_share", share), image_size

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add ``clicks`` to the item, by its ``label``."""
        random = np.random.default_rng([seed_of(self.seed, data), 2])  # 2: not a box's draw
        clicks = torch.tensor([0.0, 0.0, -1.0]).repeat(len(data["label"]), 1)
        drawn = random.random(len(clicks)) < self.share
        for n in np.flatnonzero(drawn & (np.asarray(data.get("names", -1)) < 0)):
            inside = (data["label"][n, 0] > 0.5).nonzero()  # row, column
            if len(inside):
                row, column = (inside[random.integers(len(inside))] + 0.5).tolist()
                scale = self.image_size / data["label"].shape[-1]
                # SAM takes the corner of a pixel for its place
                clicks[n] = torch.tensor([column * scale - 0.5, row * scale - 0.5, 1])
        return {**data, "clicks": clicks}


class RandInstancesd(EpochSeeded, Transform):
    """Keep ``count`` instances of a picture at most, others in every epoch.

    What a step of training holds in memory grows with them. Of ``annotations`` it stands before
    their masks are made, of a slice's ``boxes`` behind them.

    Args:
        count: of the instances.
        key: of what is counted; where the item does not have it, it stays as it is.
    """

    def __init__(self, count: int, key: str = "boxes") -> None:
        at_least(1, max_instances=count)
        self.count, self.key = count, key

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Choose among the ``annotations``, ``boxes`` and ``label`` of the item."""
        item, count = dict(data), len(data.get(self.key, ()))
        if count <= self.count:
            return item
        random = np.random.default_rng(seed_of(self.seed, data))
        chosen = np.sort(random.choice(count, self.count, replace=False))
        if "annotations" in item:
            item["annotations"] = [item["annotations"][n] for n in chosen]
        return item | {key: item[key][chosen] for key in ("boxes", "label") if key in item}


def draws(transform: Any) -> bool:
    """Tell whether a transform is of every step, behind what is made of a picture once.

    Which boxes are asked for, and how loose they are, changes neither the picture nor its masks.
    """
    return isinstance(transform, EpochSeeded | LoosenBoxesd) and not isinstance(
        transform, RandAugmentd
    )


class RandAugmentd(EpochSeeded, Transform):
    """Augment the picture and its truth, before its instances are taken; boxes follow.

    A picture whose instances would all be moved out of sight stays as it is; one that shows none is
    augmented as the others are, so that nothing tells the two apart but what they show.

    An item with a ``view`` is augmented in the same way whenever that view is asked for, so that
    its features can be cached; any other anew in every epoch.

    Args:
        transforms: MONAI's dictionary transforms of ``image`` (CxHxW) and ``truth``: 1xHxW labels,
            or, for pictures with annotations, NxHxW masks.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = Compose(transforms)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Augment the item."""
        seed = seed_of(data.get("view", self.seed), data)
        self.transforms.set_random_state(seed % 2**32)
        truth = data["truth"][None] if "truth" in data else masks_of(data)
        given = truth if len(truth) else np.zeros((1, *data["image"].shape[-2:]), np.uint8)
        item = self.transforms({"image": data["image"], "truth": torch.as_tensor(given)})
        masks = np.asarray(item["truth"])[: len(truth)]
        count = len(data["annotations"]) if "annotations" in data else 1
        if truth[:count].any() and not masks[:count].any():  # nothing is left to ask for
            return dict(data)
        kept = {**data, "truth": masks[0]} if "truth" in data else remasked(data, masks)
        kept.pop("parts", None)  # of the truth as it was
        return {**kept, "image": item["image"]}


def seed_of(seed: int, data: Mapping[Hashable, Any]) -> int:
    """Return a seed of 64 bits for an item: a picture, or the slice of a case."""
    name = f"{seed}/{data['case']}/{data.get('slice', 0)}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
