"""Transforms of pictures whose items have annotations: from files to prompts, and back."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from pycocotools import mask as coco

from samparser_monai.errors import InputError
from samparser_monai.geometry.frames import mask_in_columns
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


class InstanceMasksd(MapTransform):
    """Bring logits (Tx1xhxw) of a batch back to the pictures' own sizes, as masks of instances.

    Adds ``judged``: for each instance a dictionary of case, instance (its place in the picture),
    label, and the run lengths ``prediction`` and ``truth``. What is ``ignored`` is in neither.

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
            for place, annotation in enumerate(data["annotations"][n]):
                # one at a time: at full size they would fill the memory
                mask = mask_in_columns(logits[place], data["size"][n], self.image_size)
                prediction = mask & asked
                found.append(
                    {
                        "case": data["case"][n],
                        "instance": place,
                        "label": annotation["label"],
                        "prediction": rle_of(prediction),
                        "truth": annotation["rle"],
                    }
                )
        return {**data, "judged": found}
