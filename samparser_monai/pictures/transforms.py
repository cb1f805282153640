"""Transforms of pictures whose items have annotations: from files to prompts, and back."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from pycocotools import mask as coco

from samparser_monai.errors import InputError
from samparser_monai.geometry.frames import coverage, frame_scale, mask_in_columns
from samparser_monai.geometry.run_lengths import Rle, boxes_of_rles, rle_of
from samparser_monai.pictures.reading import read_picture

Item = dict[Hashable, Any]


class LoadPictured(Transform):
    """Read ``image``, a path, as 3xHxW from 0 to 255, see read_picture.

    Args:
        bands: the one or three bands of a picture to take, numbered from 1.
        note_errors: give an item whose picture cannot be read an ``error`` and no prompts, so that
            others can go on, or raise it.
    """

    def __init__(self, bands: Sequence[int] | None = None, note_errors: bool = False) -> None:
        self.bands, self.note_errors = bands, note_errors

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Read the picture."""
        if not self.note_errors:
            return self._read(data)
        try:
            return self._read(data) if "error" not in data else _failed(data, data["error"])
        except InputError as error:
            return _failed(data, str(error))

    def _read(self, data: Mapping[Hashable, Any]) -> Item:
        pixels = read_picture(data["image"], self.bands, data.get("orientation"))
        return {**data, "image": torch.from_numpy(np.moveaxis(pixels, -1, 0).copy())}


def _failed(data: Mapping[Hashable, Any], error: str) -> Item:
    """Return an item without picture and prompts."""
    nothing: Item = {
        "image": torch.zeros(3, 1, 1),
        "prompts": [],
        "boxes": np.zeros((0, 4), np.float32),
        "by_name": [],
    }
    return {**data, **nothing, "error": error}


class Masks(Sequence[torch.Tensor]):
    """The masks (HxW, 0 or 1) of run lengths, made when their turn comes.

    All at once, 300 instances of a picture of 4000 x 4000 take 5 GB.
    """

    def __init__(self, rles: Sequence[Rle]) -> None:
        self.rles = rles

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Masks(self.rles[place])
        return torch.from_numpy(coco.decode(self.rles[place]))


class Annotationsd(Transform):
    """Take the instances of ``annotations``, a list of {label, rle}.

    Adds ``boxes`` (Nx4, XYXY, corners included) and ``label`` (Masks); ``ignored``, where the item
    has it, becomes HxW.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the instances to the item."""
        rles = [annotation["rle"] for annotation in data["annotations"]]
        item = {
            **data,
            "boxes": torch.from_numpy(boxes_of_rles(rles)),
            "label": Masks(rles),
        }
        if "ignored" in data:
            item["ignored"] = torch.from_numpy(coco.decode(data["ignored"]))
        return item


class NamedCategoriesd(Transform):
    """Make what categories are asked by name with: ``named``, ``body``, ``shown`` and ``whole``.

    ``named`` are all categories, for a data set labels them in every picture; ``body`` (4,) is the
    picture's own box in the model's square; ``shown`` (K) are the places in ``labels`` of those
    that the picture shows, ``whole`` (Kx1xhxw) the share of each low-resolution pixel that all
    their instances cover.

    Args:
        labels: the categories.
        image_size: side of the model's square, in pixels.
        mask_size: of its low-resolution masks.
    """

    def __init__(self, labels: Sequence[str], image_size: int, mask_size: int) -> None:
        self.labels, self.image_size, self.mask_size = list(labels), image_size, mask_size

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Look at the ``annotations`` of ``image``, 3xHxW, before it is framed."""
        _, (height, width) = frame_scale(data["image"].shape[-2:], self.image_size)
        found = whole_categories(data["annotations"])
        return {
            **data,
            "named": self.labels,
            "body": torch.tensor([0.0, 0.0, width, height]),
            "shown": torch.tensor([self.labels.index(label) for label in found]),
            "whole": coverage(Masks([*found.values()]), self.image_size, self.mask_size)[:, None],
        }


def whole_categories(annotations: Sequence[Mapping[str, Any]]) -> dict[str, Rle]:
    """Return the instances of each category as one mask, by the category's name."""
    found = defaultdict[str, list[Rle]](list)
    for annotation in annotations:
        found[annotation["label"]].append(annotation["rle"])
    return {label: coco.merge(rles) for label, rles in found.items()}


class InstanceMasksd(MapTransform):
    """Bring logits (Tx1xhxw) of a batch back to the pictures' own sizes, as masks of instances.

    Adds ``judged``: for each instance a dictionary of case, instance (its place in the picture),
    label, and the run lengths ``prediction`` and ``truth``. What is ``ignored`` is in neither. What
    was asked by ``names`` is judged as an instance more, "ship by name": all ships in one mask.

    Args:
        keys: of the logits.
        image_size: side of the model's square input, in pixels.
    """

    def __init__(self, keys: KeysCollection, image_size: int) -> None:
        super().__init__(keys)
        self.image_size = image_size

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the masks of every picture of the batch."""
        (key,) = self.keys
        found = []
        counts = [len(boxes) for boxes in data["boxes"]]
        for n, logits in enumerate(data[key].split(counts)):
            asked = ~data["ignored"][n].bool().numpy() if "ignored" in data else True
            things = [(one["label"], one["rle"]) for one in data["annotations"][n]]
            boxed = len(things)
            if "names" in data:
                whole = whole_categories(data["annotations"][n])
                nothing = rle_of(np.zeros(data["size"][n], bool))
                for label in data["named"][n]:
                    things.append((f"{label} by name", whole.get(label, nothing)))
            for place, (label, truth) in enumerate(things):
                # one at a time: at full size they would fill the memory
                mask = mask_in_columns(logits[place], data["size"][n], self.image_size)
                prediction = mask & asked
                found.append(
                    {
                        "case": data["case"][n],
                        "instance": place,
                        "label": label,
                        "by_name": place >= boxed,
                        "prediction": rle_of(prediction),
                        "truth": truth,
                    }
                )
        return {**data, "judged": found}
