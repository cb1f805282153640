"""Transforms of volumes and of their slices: from files to prompts, and back."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRanged, Transform

from samparser_monai.errors import InputError
from samparser_monai.geometry.bodies import body_box
from samparser_monai.geometry.boxes import boxes_of
from samparser_monai.geometry.components import instances_of
from samparser_monai.geometry.frames import coverage, from_frame
from samparser_monai.sam import SamNetwork
from samparser_monai.volumes.reading import check_hounsfield, read_volume

Item = dict[Hashable, Any]


class ReadVolumed(MapTransform):
    """Replace paths by checked volumes, 1xXxYxZ along their own axes, see read_volume.

    What is a volume already stays.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Read the volumes of the item."""
        found = {key: data[key] for key in self.key_iterator(data)}
        read = {k: v if isinstance(v, MetaTensor) else read_volume(v) for k, v in found.items()}
        return {**data, **read}


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

    ``parts`` (HxW) has the numbers of the truth's components.

    Args:
        labels: the organs in the order in which they were cut; those that the item drops are set
            to background.
    """

    def __init__(self, labels: Mapping[str, Any]) -> None:
        self.names = list(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add image and truth to the item."""
        with np.load(data["slices"]) as file:
            image, truth, parts = file["image"], file["label"], file["parts"]
        shown = np.array([False, *(name in data["organs"] for name in self.names)])[truth]
        return {
            **data,
            "image": torch.from_numpy(image.astype(np.float32))[None],
            "truth": np.where(shown, truth, 0),
            "parts": np.where(shown, parts, 0),
        }


class Instancesd(Transform):
    """Take the instances of ``truth``: ``organs`` (N), ``boxes`` (Nx4, XYXY), ``label`` (NxHxW).

    ``parts``, the numbers of its components, are made where the item does not have them. What is
    too small to be an instance is no truth either: nobody is asked to find it by a box.

    Args:
        min_area: of an instance, in pixels.
    """

    def __init__(self, min_area: int = 100) -> None:
        self.min_area = min_area

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the instances to the item."""
        item = dict(data)
        values, masks = instances_of(data["truth"], self.min_area, item.pop("parts", None))
        return {
            **item,
            "organs": torch.from_numpy(values),
            "boxes": torch.from_numpy(boxes_of(masks)),
            "label": torch.from_numpy(masks),
            "truth": torch.from_numpy(np.where(masks.any(0), data["truth"], 0)),
        }


class NamedOrgansd(Transform):
    """Make what organs are asked by name with: ``body``, ``shown``, ``whole``, ``named_truth``.

    ``body`` (4,) is the box of the body, XYXY in the model's square; ``shown`` (K) the organs'
    places among the labels, ``whole`` (Kx1xhxw) the share of each low-resolution pixel that they
    cover. ``named_truth`` (HxW) is the truth with what is too small for a box: a name finds it too.

    Args:
        image_size: side of the model's square, in pixels.
        mask_size: of its low-resolution masks.
    """

    def __init__(self, image_size: int, mask_size: int) -> None:
        self.image_size, self.mask_size = image_size, mask_size

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Look at ``image`` (CxHxW, 0..255) and ``truth`` (HxW), before they are framed."""
        image, truth = (torch.as_tensor(np.asarray(data[key])) for key in ("image", "truth"))
        values = truth.unique()
        values = values[values > 0]
        masks = truth == values[:, None, None]
        return {
            **data,
            "body": body_box(image[0], self.image_size),
            "shown": values.long() - 1,
            "whole": coverage(masks, self.image_size, self.mask_size)[:, None],
            "named_truth": truth,
        }


class OrganMasksd(MapTransform):
    """Bring logits (Tx1xhxw) of a batch back to the pictures' own sizes, as masks of organs.

    Adds ``judged``: for each picture and organ a dictionary of case, slice, organ, and the
    HxW masks ``prediction`` and ``truth``; an organ's instances are joined. What was asked by
    ``names`` is judged apart from it, as "liver by name".

    Args:
        keys: of the logits.
        image_size: side of the model's square input, in pixels.
        labels: the organs in the order in which they were cut.
        network: whose names that training never asked for are not judged.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: int,
        labels: Mapping[str, Any],
        network: SamNetwork | None = None,
    ) -> None:
        super().__init__(keys)
        self.image_size, self.names, self.network = image_size, list(labels), network

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        """Add the masks of every picture of the batch."""
        (key,) = self.keys
        found = []
        counts = [len(boxes) for boxes in data["boxes"]]
        for n, logits in enumerate(data[key].split(counts)):
            masks = from_frame(logits, data["size"][n], self.image_size)[:, 0] > 0
            truth, organs = data["truth"][n], data["organs"][n]
            judged = [
                (
                    self.names[organ - 1],
                    masks[: len(organs)][organs == organ].any(0),
                    truth == organ,
                    False,
                )
                for organ in organs.unique().tolist()
            ]
            named = data["named"][n] if "names" in data else ()
            for organ, mask in zip(named, masks[len(organs) :], strict=True):
                if organ in self._taught():
                    whole = data["named_truth"][n] == self.names.index(organ) + 1
                    judged.append((f"{organ} by name", mask, whole, True))
            found += [
                {
                    "case": data["case"][n],
                    "slice": data["slice"][n],
                    "organ": organ,
                    "by_name": by_name,
                    "prediction": mask.cpu(),
                    "truth": whole,
                }
                for organ, mask, whole, by_name in judged
            ]
        return {**data, "judged": found}

    def _taught(self) -> list[str]:
        known = None if self.network is None else self.network.named_prompts
        return self.names if known is None else known.taught
