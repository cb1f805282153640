"""Transforms of promptable pictures; what is not about prompts is MONAI's."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Randomizable, ScaleIntensityRanged, Transform
from monai.utils import convert_to_tensor

from samparser_monai.geometry.run_lengths import masks_of, remasked
from samparser_monai.volumes.reading import check_hounsfield, read_volume
from samparser_monai.errors import InputError, at_least
from samparser_monai.geometry.frames import (
    boxes_of,
    coverage,
    frame_scale,
    from_frame,
    instances_of,
    into_frame,
    loosen_boxes,
)

Item = dict[Hashable, Any]


class ReadVolumed(MapTransform):
    """Replace paths by checked volumes, 1xXxYxZ along their own axes, see read_volume."""

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Read the volumes of the item."""
        return {**data, **{key: read_volume(data[key]) for key in self.key_iterator(data)}}


class Windowd(ScaleIntensityRanged):
    """Map a window of intensities (lowest, highest), HU in CT, to 0 to 255; the rest is clipped.

    Raises:
        InputError: the window is not two numbers that rise.
    """

    def __init__(self, keys: KeysCollection, window: Sequence[float]) -> None:
        if np.shape(window) != (2,) or not window[0] < window[1]:
            raise InputError(f"window={window} must be two numbers, the lower one first")
        super().__init__(keys, *window, b_min=0.0, b_max=255.0, clip=True)


class CheckUnwindowedd(MapTransform):
    """Warn of volumes that are not in HU, and refuse those from 0 to 255; see check_hounsfield.

    Args:
        keys: of the volumes.
        window: lowest and highest intensity that will be seen.
    """

    def __init__(self, keys: KeysCollection, window: Sequence[float]) -> None:
        super().__init__(keys)
        self.window = window

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Check the volumes of the item."""
        for key in self.key_iterator(data):
            low, high = float(data[key].min()), float(data[key].max())
            check_hounsfield(low, high, self.window, str(data[key].meta["filename_or_obj"]))
        return dict(data)


class LoadSliced(Transform):
    """Read a slice file: ``image`` 1xHxW float32 in the volume's units, ``truth`` HxW uint8.

    Args:
        labels: the organs in the order in which they were cut; those that the item drops are set
            to background.
    """

    def __init__(self, labels: Mapping[str, Any]) -> None:
        self.names = list(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add image and truth to the item."""
        with np.load(data["slices"]) as file:
            image, truth = file["image"], file["label"]
        dropped = [n for n, name in enumerate(self.names, 1) if name not in data["organs"]]
        truth = np.where(np.isin(truth, dropped), 0, truth)
        return {**data, "image": torch.from_numpy(image.astype(np.float32))[None], "truth": truth}


class Instancesd(Transform):
    """Take the instances of ``truth``: ``organs`` (N), ``boxes`` (Nx4, XYXY), ``label`` (NxHxW).

    What is too small to be an instance is no truth either: nobody is asked to find it.

    Args:
        min_area: of an instance, in pixels.
    """

    def __init__(self, min_area: int = 100) -> None:
        self.min_area = min_area

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the instances to the item."""
        values, masks = instances_of(data["truth"], self.min_area)
        return {
            **data,
            "organs": torch.from_numpy(values),
            "boxes": torch.from_numpy(boxes_of(masks)),
            "label": torch.from_numpy(masks),
            "truth": torch.from_numpy(np.where(masks.any(0), data["truth"], 0)),
        }


class IntoFramed(Transform):
    """Bring ``image``, ``boxes`` and ``label`` into the model's square frame.

    Args:
        frame: side of the model's input, in pixels.
        mask_size: side of its low-resolution masks; a pixel of ``label`` (Nx1xhxw) becomes the
            share of it that the instance covers, or -1 where ``ignored`` (HxW) has its larger part.
        mean, std: of the three channels, for pixels 0..255.
    """

    def __init__(
        self, frame: int, mask_size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.frame, self.mask_size = frame, mask_size
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add ``size`` (H, W), the picture's own, to the item and move the rest."""
        image = convert_to_tensor(data["image"], track_meta=False)
        size = tuple(image.shape[-2:])
        item = {**data, "size": size}
        if "features" in data:  # the network will not look at the picture
            item["image"] = torch.empty(0)
        else:
            item["image"] = into_frame((image - self.mean) / self.std, self.frame)
        if "boxes" in data:
            item["boxes"] = data["boxes"] * frame_scale(size, self.frame)[0]
        if "label" in data:
            item["label"] = coverage(data["label"], self.frame, self.mask_size)[:, None]
        if "ignored" in data:
            void = coverage(data["ignored"][None], self.frame, self.mask_size)
            item["label"] = torch.where(void < 0.5, item["label"] / (1 - void), -1.0)
        return item


class LoosenBoxesd(Transform):
    """Move each side of ``boxes`` outward by 0 to ``distance`` pixels.

    The draw depends on ``seed`` and on the item's name alone, so every method, process and epoch
    is asked with the same boxes.

    Args:
        distance: in pixels of a frame of 1024; smaller frames take their share of it.
        frame: side of the model's input, in pixels.
        seed: of the draw.
    """

    def __init__(self, distance: float, frame: int, seed: int = 0) -> None:
        at_least(0.0, box_shift=distance)
        self.distance, self.frame, self.seed = distance, frame, seed

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Loosen the boxes of the item."""
        random = np.random.default_rng(seed_of(self.seed, data))
        boxes = data["boxes"]
        drawn = random.uniform(0, self.distance * self.frame / 1024, boxes.shape)
        _, size = frame_scale(data["size"], self.frame)
        return {**data, "boxes": loosen_boxes(boxes, torch.from_numpy(drawn).to(boxes), size)}


class EpochSeeded(Randomizable):
    """What MONAI seeds at the start of an epoch; its draw does not depend on the items' order."""

    seed = 0

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "EpochSeeded":
        """Take the seed of an epoch."""
        super().set_random_state(seed, state)
        self.seed = int(self.R.randint(2**31))
        return self


class RandLoosenBoxesd(EpochSeeded, LoosenBoxesd):
    """The same with new boxes in every epoch, as the paper trains: 0 to 20 pixels."""


class RandInstancesd(EpochSeeded, Transform):
    """Keep ``count`` instances of a picture at most, others in every epoch.

    What a step of training holds in memory grows with them. It stands before the masks of
    annotations are made, and behind the instances of a slice.

    Args:
        count: of the instances.
    """

    def __init__(self, count: int) -> None:
        at_least(1, max_instances=count)
        self.count = count

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Choose among the ``annotations``, or among ``boxes`` and ``label``."""
        count = len(data.get("boxes", data.get("annotations", ())))
        if count <= self.count:
            return dict(data)
        random = np.random.default_rng(seed_of(self.seed, data))
        chosen = np.sort(random.choice(count, self.count, replace=False))
        if "boxes" not in data:
            return {**data, "annotations": [data["annotations"][n] for n in chosen]}
        return {**data, "boxes": data["boxes"][chosen], "label": data["label"][chosen]}


class RandAugmentd(EpochSeeded, Transform):
    """Augment the picture and its truth, before its instances are taken; boxes follow.

    A picture whose instances would all be moved out of sight stays as it is.

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
        item = self.transforms({"image": data["image"], "truth": torch.as_tensor(truth)})
        masks = np.asarray(item["truth"])
        count = len(data["annotations"]) if "annotations" in data else 1
        if not masks[:count].any():  # nothing is left to ask for
            return dict(data)
        kept = {**data, "truth": masks[0]} if "truth" in data else remasked(data, masks)
        return {**kept, "image": item["image"]}


def seed_of(seed: int, data: Mapping[Hashable, Any]) -> int:
    """Return a seed of 64 bits for an item: a picture, or the slice of a case."""
    name = f"{seed}/{data['case']}/{data.get('slice', 0)}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


class FromFramed(MapTransform):
    """Bring logits (Tx1xhxw) of a batch back to the pictures' own sizes, as masks of organs.

    Adds ``judged``: for each picture and organ a dictionary of case, slice, organ, and the
    HxW masks ``prediction`` and ``truth``; an organ's instances are joined.

    Args:
        keys: of the logits.
        frame: side of the model's input, in pixels.
        labels: the organs in the order in which they were cut.
    """

    def __init__(self, keys: KeysCollection, frame: int, labels: Mapping[str, Any]) -> None:
        super().__init__(keys)
        self.frame, self.names = frame, list(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the masks of every picture of the batch."""
        (key,) = self.keys
        found = []
        counts = [len(boxes) for boxes in data["boxes"]]
        for n, logits in enumerate(data[key].split(counts)):
            masks = from_frame(logits, data["size"][n], self.frame)[:, 0] > 0
            truth, organs = data["truth"][n], data["organs"][n]
            for organ in organs.unique().tolist():
                found.append(
                    {
                        "case": data["case"][n],
                        "slice": data["slice"][n],
                        "organ": self.names[organ - 1],
                        "prediction": masks[organs == organ].any(0).cpu(),
                        "truth": truth == organ,
                    }
                )
        return {**data, "judged": found}
