"""A volume segmented slice by slice from few prompts, on exactly the source's grid."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor_fn
from monai.inferers import Inferer
from monai.transforms import Orientation
from torch import Tensor
from tqdm import tqdm

from samparser_monai.errors import unknown
from samparser_monai.geometry.frames import from_frame, into_frame
from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.targets import Click, Prompt, Seed, Target, TargetReader, axcodes_of

PLANES = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}
"""Plane -> where the columns, the rows and the slices of its pictures run to."""

NOTHING = -32.0
"""The logit where no mask was asked for."""
LEAST = 1.0
"""By how much a click's voxel is right, as a logit."""


@dataclass
class Mask:
    """What was found of one target on one slice.

    Attributes:
        label: the organ.
        logits: hxw, low resolution, over the model's square input.
        iou: the predicted one.
    """

    label: str
    logits: Tensor
    iou: float


class Kept(OrderedDict[int, Tensor]):
    """What was computed of slices; the least recently used go.

    functools.lru_cache on a method would hold the session that holds it, and gigabytes with it
    until the garbage collector comes.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def of(self, k: int, compute: Callable[[int], Tensor]) -> Tensor:
        """Return what is kept of slice ``k``, computed where nothing is."""
        if k not in self:
            self[k] = compute(k)
            if len(self) > self.most:
                self.popitem(last=False)
        self.move_to_end(k)
        return self[k]


class VolumeSession:
    """One volume, to be asked any number of times; the trunk runs once on a slice.

    The volume and the masks are on the CPU, wherever the volume came from; features and embeddings
    are on the network's device.

    Positions are in pixels of the model's square input (the network's own frame), slices count
    along the third axis of ``view``. Both serve what stands behind ``segment``; prompts are
    written in voxels of the volume's own array or in mm.

    Args:
        volume: 1xXxYxZ, windowed to 0..255, along any axes.
        network: the tuned network.
        backbone: of that network.
        labels: organ -> its value, or values of which the first is written.
        plane: of the pictures: axial, coronal, sagittal, or the one of acquisition.
        kept: how many slices' features, and embeddings, stay in memory; the least recently used
            go, and are computed again when they are asked for.
    """

    def __init__(
        self,
        volume: MetaTensor,
        network: SamNetwork,
        backbone: Backbone,
        labels: Labels,
        plane: str = "acquisition",
        kept: int = 96,
    ) -> None:
        if plane not in (*PLANES, "acquisition"):
            raise unknown("plane", plane, (*PLANES, "acquisition"))
        volume = volume.cpu()
        self.volume, self.network, self.backbone = volume, network, backbone
        self.labels = organ_values(labels)
        axcodes = PLANES[plane_of(volume) if plane == "acquisition" else plane]
        self.view = Orientation(axcodes, labels=None)(volume)
        self.size, self.depth = (self.view.shape[2], self.view.shape[1]), self.view.shape[3]
        self.device = next(network.parameters()).device
        self.bar = tqdm(disable=True)  # counts the slices that the trunk has seen
        self.targets = TargetReader(volume, self.view, labels, backbone.image_size)
        self._kept_features, self._kept_embeddings = Kept(kept), Kept(kept)

    def use(self, network: SamNetwork) -> None:
        """Go on with another tuned network on the same frozen prefix; features stay."""
        self.network = network
        self._kept_embeddings.clear()

    def picture(self, k: int) -> Tensor:
        """Return slice ``k`` of the view, HxW, 0..255."""
        return self.view[0, :, :, k].as_tensor().T

    def features(self, k: int) -> Tensor:
        """Return the output of the frozen prefix for slice ``k``."""
        return self._kept_features.of(k, self._features)

    def embedding(self, k: int) -> Tensor:
        """Return the image embedding of slice ``k``, 1xCxhxw."""
        return self._kept_embeddings.of(k, self._embedding)

    @torch.no_grad()
    def _features(self, k: int) -> Tensor:
        self.bar.update()
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.backbone.mean, self.backbone.std))
        image = (self.picture(k).expand(3, *self.size) - mean) / std
        return self.network.features(
            into_frame(image, self.backbone.image_size)[None].to(self.device)
        )

    @torch.no_grad()
    def _embedding(self, k: int) -> Tensor:
        return self.network.embed(self.features(k))

    @torch.no_grad()
    def decode(
        self,
        k: int,
        boxes: Tensor | None = None,
        points: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits Nxhxw and predicted IoU (N) of N prompts on slice ``k``, on the CPU.

        Args:
            k: slice of the view.
            boxes: Nx4, XYXY.
            points: NxPx3: x, y, and 1 (foreground), 0 (background) or -1 (none).
            masks: Nxhxw, low-resolution logits.
        """
        given = (boxes, points, masks if masks is None else masks[:, None])
        logits, iou = self.network.decode(
            self.embedding(k), *(None if p is None else [p] for p in given)
        )
        return logits[:, 0].cpu(), iou[:, 0].cpu()

    def segment(
        self, prompts: Sequence[Prompt], propagate: "Propagate | None" = None
    ) -> "Segmentation":
        """Segment what the prompts of this volume ask for.

        Call it again with one prompt more after a click: features are not computed again.

        Args:
            prompts: as in docs/prompts.md, of which ``mask`` may be read already.
            propagate: how a target spreads to slices without a prompt. Without a rule a 3-D box
                is asked for on each of its slices, and a prompt on a slice for that slice alone.

        Raises:
            InputError: a prompt leaves the volume, or a mask lies on another grid.
        """
        found: dict[int, list[Mask]] = defaultdict(list)
        boxes: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
        targets = self.targets(prompts)
        for target in targets:
            if propagate is not None and not target.complete:
                for k, mask in propagate(self, target).items():
                    found[k].append(mask)
                continue
            for k, seed in target.on_its_slices().items():
                if seed.points is None and seed.box is not None:
                    boxes[k].append((target.label, seed.box))
                else:
                    found[k].append(self.ask(k, target.label, seed))
        for k, asked in sorted(boxes.items()):  # all organs of a slice in one pass of the decoder
            logits, iou = self.decode(k, torch.stack([box for _, box in asked]))
            found[k] += map(Mask, [label for label, _ in asked], logits, iou.tolist())
        clicks = [
            (target.label, k, point)
            for target in targets
            for k, seed in target.seeds.items()
            for point in (() if seed.points is None else seed.points)
        ]
        return Segmentation(self, found, clicks)

    def ask(self, k: int, label: str, seed: Seed, logits: Tensor | None = None) -> Mask:
        """Return the mask of one prompt, and perhaps a mask prompt (hxw), on slice ``k``."""
        parts = (seed.box, seed.points, logits)
        found, iou = self.decode(k, *(None if part is None else part[None] for part in parts))
        return Mask(label, found[0], float(iou[0]))

    def pixels(self, points: Tensor) -> Tensor:
        """Return the column and row (Px2) of a slice's picture where points (Px3) lie."""
        return (points[:, :2] / self.targets.scale[:2]).round().long()

    def agrees(self, mask: Mask | None, points: Tensor) -> bool:
        """Tell whether a mask shows points (Px3) of the foreground, and none of the background."""
        if mask is None:
            return not bool(points[:, 2].any())
        full = from_frame(mask.logits[None, None], self.size, self.backbone.image_size)[0, 0]
        columns, rows = self.pixels(points).T
        return bool(((full[rows, columns] > 0) == (points[:, 2] > 0)).all())


Propagate = Callable[[VolumeSession, Target], dict[int, Mask]]
"""A rule: the masks of a target on all slices that show it."""


class Segmentation:
    """What was found in a volume.

    Args:
        session: that found it.
        masks: slice of the session's view -> the masks on it.
        clicks: what they say about their own voxels holds, whatever the masks say.
    """

    def __init__(
        self,
        session: VolumeSession,
        masks: Mapping[int, list[Mask]],
        clicks: Sequence[Click] = (),
    ) -> None:
        self.session, self.masks, self.clicks = session, masks, clicks

    def logits(self, k: int) -> Tensor:
        """Return the logits OxHxW of the organs, in the order of labels, on a slice of the view."""
        organs = self._of_masks(k)
        own = [(label, point) for label, n, point in self.clicks if n == k]
        for spread in (True, False):  # a click may not undo its neighbour's voxel
            for label, point in own:
                self._put_right(organs, label, point, spread)
        return organs

    def _put_right(self, organs: Tensor, label: str, point: Tensor, spread: bool) -> None:
        """Put the voxel of a click right, and with it what is nearly as sure about it."""
        place = list(self.session.labels).index(label)
        x, y = self.session.pixels(point[None])[0].tolist()
        others = torch.cat([organs[:place, y, x], organs[place + 1 :, y, x]])
        found, foreground = float(organs[place, y, x]), bool(point[2])
        most = max([0.0, *others.tolist()]) if foreground else 0.0
        if (found > most) == foreground:
            return
        lacking = most + (LEAST if foreground else -LEAST) - found
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in self.session.size)
        square = (rows[:, None] - y) ** 2 + (columns - x) ** 2
        reach = max(self.session.size) / 128 if spread else 0.1  # one or two pixels of the model
        organs[place] += lacking * torch.exp(-square / 2 / reach**2)

    def _of_masks(self, k: int) -> Tensor:
        session = self.session
        organs = torch.full((len(session.labels), *session.size), NOTHING)
        for mask in self.masks.get(k, []):
            place = list(session.labels).index(mask.label)
            full = from_frame(mask.logits[None, None], session.size, session.backbone.image_size)
            organs[place] = torch.maximum(organs[place], full[0, 0])
        return organs

    def labels(self) -> MetaTensor:
        """Return the label volume 1xXxYxZ, uint8, on the source's grid.

        Where organs overlap, the larger logit wins.
        """
        view = torch.zeros_like(self.session.view, dtype=torch.uint8)
        values = torch.tensor([known[0] for known in self.session.labels.values()])
        for k in {*self.masks, *(k for _, k, _ in self.clicks)}:
            best, organ = self.logits(k).max(0)
            view[0, :, :, k] = torch.where(best > 0, values[organ], 0).T.to(torch.uint8)
        return Orientation(axcodes_of(self.session.volume), labels=None)(view)

    def into_view(self, volume: MetaTensor) -> np.ndarray:
        """Return a volume on the source's grid as CxRxS: columns, rows and slices of pictures."""
        return Orientation(axcodes_of(self.session.view), labels=None)(volume.cpu())[0].numpy()

    def table(self) -> list[dict[str, Any]]:
        """Return a row to an organ that was found: organ, slices, predicted IoU (mean)."""
        rows = []
        for label in self.session.labels:
            ious = [m.iou for masks in self.masks.values() for m in masks if m.label == label]
            if ious:
                slices = sum(any(m.label == label for m in ms) for ms in self.masks.values())
                rows.append({"organ": label, "slices": slices, "iou": float(np.mean(ious))})
        return rows


class VolumeInferer(Inferer):
    """MONAI's view of a session: volumes and their prompts in, label volumes out.

    Args:
        backbone: of the network.
        labels, plane, kept: see VolumeSession.
        propagate: see VolumeSession.segment.
    """

    def __init__(
        self,
        backbone: Backbone,
        labels: Labels,
        propagate: Propagate | None = None,
        plane: str = "acquisition",
        kept: int = 96,
    ) -> None:
        self.backbone, self.labels, self.plane = backbone, organ_values(labels), plane
        self.propagate, self.kept = propagate, kept
        self.found: list[Segmentation] = []  # by the last call
        if plane not in (*PLANES, "acquisition"):
            raise unknown("plane", plane, (*PLANES, "acquisition"))

    def session(self, volume: MetaTensor, network: SamNetwork) -> VolumeSession:
        """Open a session on a volume, 1xXxYxZ, windowed to 0..255."""
        return VolumeSession(volume, network, self.backbone, self.labels, self.plane, self.kept)

    def __call__(
        self,
        inputs: MetaTensor,
        network: SamNetwork,
        prompts: Sequence[Sequence[Prompt]],
        **_: Any,
    ) -> Tensor:
        """Return label volumes Bx1xXxYxZ for windowed volumes (0 to 255) and their prompts."""
        self.found = []
        for volume, asked in zip(inputs, prompts, strict=True):
            session = self.session(volume, network)
            with tqdm(desc="slices", unit="slice", leave=False) as session.bar:
                self.found.append(session.segment(asked, self.propagate))
        return collate_meta_tensor_fn([found.labels() for found in self.found])


def plane_of(volume: MetaTensor) -> str:
    """Return the plane of a volume's acquisition: that of two equal spacings; axial in doubt."""
    view = Orientation(PLANES["axial"], labels=None)(volume)
    x, y, z = np.linalg.norm(np.asarray(view.affine, dtype=float)[:3, :3], axis=0)
    unequal = {"axial": abs(x - y), "coronal": abs(x - z), "sagittal": abs(y - z)}
    return min(unequal, key=lambda plane: round(unequal[plane], 3))
