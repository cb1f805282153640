"""A volume segmented slice by slice from few prompts, on exactly the source's grid."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Self

import torch
from monai.data import MetaTensor
from torch import Tensor
from tqdm import tqdm

from samparser_monai.geometry.frames import into_frame
from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.prompts import asks_by_name
from samparser_monai.volumes.refinement import box_then_clicks, refined
from samparser_monai.volumes.segmentation import Mask, Segmentation
from samparser_monai.volumes.target_reader import TargetReader
from samparser_monai.volumes.targets import Prompt, SlicePrompt, Target, pixels_of
from samparser_monai.volumes.view import View


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
        found = self[k] if k in self else compute(k)  # meanwhile others may ask, of this slice too
        self[k] = found
        self.move_to_end(k)
        if len(self) > self.most:
            self.popitem(last=False)
        return found


class VolumeSession:
    """One volume, to be asked any number of times; the trunk runs once on a slice.

    The volume and the masks are on the CPU, features and embeddings on the network's device.

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
        self.view, self.labels = View(volume, plane), organ_values(labels)
        self.network, self.backbone = network, backbone
        self.device = next(network.parameters()).device
        self.bar = tqdm(disable=True)  # of the slices that the trunk has seen
        self.computed = 0  # how many that were
        self.targets = TargetReader(self.view, labels, backbone.image_size)
        self._kept_features, self._kept_embeddings = Kept(kept), Kept(kept)

    def beside(self, network: SamNetwork | None = None) -> Self:
        """Return a session of its own on the same volume; what is kept of slices is common.

        Args:
            network: another tuned one on the same frozen prefix, whose embeddings are its own.
        """
        other = copy.copy(self)
        other.targets = TargetReader(self.view, self.labels, self.backbone.image_size)
        other.computed = 0
        if network is not None:
            other.network, other._kept_embeddings = network, Kept(self._kept_embeddings.most)
        return other

    def features(self, k: int) -> Tensor:
        """Return the output of the frozen prefix for slice ``k``."""
        return self._kept_features.of(k, self._features)

    def embedding(self, k: int) -> Tensor:
        """Return the image embedding of slice ``k``, 1xCxhxw."""
        return self._kept_embeddings.of(k, self._embedding)

    @torch.no_grad()
    def _features(self, k: int) -> Tensor:
        self.bar.update()
        self.computed += 1
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.backbone.mean, self.backbone.std))
        image = (self.view.picture(k).expand(3, *self.view.size) - mean) / std
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
        names: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits Nxhxw and predicted IoU (N) of N prompts on slice ``k``, on the CPU.

        Args:
            k: slice of the view.
            boxes: Nx4, XYXY.
            points: NxPx3: x, y, and 1 (foreground), 0 (background) or -1 (none).
            masks: Nxhxw, low-resolution logits.
            names: N places of organs among those that the network knows by name.
        """
        given = (boxes, points, masks if masks is None else masks[:, None])
        by_name = {} if names is None else {"names": [names]}
        logits, iou = self.network.decode(
            self.embedding(k), *(None if p is None else [p] for p in given), **by_name
        )
        return logits[:, 0].cpu(), iou[:, 0].cpu()

    def segment(
        self,
        prompts: Sequence[Prompt],
        propagate: "Propagate | None" = None,
        naming: "FindByName | None" = None,
    ) -> Segmentation:
        """Segment what the prompts of this volume ask for.

        Call it again with one prompt more after a click: features are not computed again.

        Args:
            prompts: as in docs/prompts.md, of which ``mask`` may be read already.
            propagate: how a target spreads to slices without a prompt. Without a rule a 3-D box
                is asked for on each of its slices, and a prompt on a slice for that slice alone.
            naming: how organs are found that prompts ask for by name alone.

        Raises:
            InputError: a prompt leaves the volume, or a mask lies on another grid.
        """
        found: dict[int, list[Mask]] = defaultdict(list)
        boxes: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
        by_name = list(dict.fromkeys(p["label"] for p in prompts if asks_by_name(p)))
        known: list[Target] = []
        if by_name:
            assert naming is not None, "organs are asked for by name without a rule for it"
            known, masks = naming(self, by_name)
            for k, mask in masks:
                found[k].append(mask)
        targets = self.targets([p for p in prompts if not asks_by_name(p)], known)
        for target in targets:
            if target.draft is not None:
                for k, mask in refined(self, target, propagate).items():
                    found[k].append(mask)
                continue
            if propagate is not None and not target.complete:
                for k, mask in propagate(self, target).items():
                    found[k].append(mask)
                continue
            for k, prompt in target.on_its_slices().items():
                if prompt.points is None and prompt.box is not None:
                    boxes[k].append((target.label, prompt.box))
                elif prompt.points is not None and prompt.box is not None:
                    mask = box_then_clicks(self, k, target.label, prompt.box, prompt.points)
                    found[k].append(mask)
                else:
                    found[k].append(self.ask(k, target.label, prompt))
        for k, asked in sorted(boxes.items()):  # all organs of a slice in one pass of the decoder
            logits, iou = self.decode(k, torch.stack([box for _, box in asked]))
            found[k] += map(Mask, [label for label, _ in asked], logits, iou.tolist())
        clicks = [
            (target.label, k, point)
            for target in targets
            for k, prompt in target.prompts.items()
            for point in (() if prompt.points is None else prompt.points)
        ]
        return Segmentation(
            self.view,
            self.labels,
            self.backbone.image_size,
            found,
            clicks,
            self.targets.warnings,
            by_name,
        )

    def ask(self, k: int, label: str, prompt: SlicePrompt, logits: Tensor | None = None) -> Mask:
        """Return the mask of one prompt, and perhaps a mask prompt (hxw), on slice ``k``."""
        parts = (prompt.box, prompt.points, logits)
        found, iou = self.decode(k, *(None if part is None else part[None] for part in parts))
        return Mask(label, found[0], float(iou[0]))

    def agrees(self, mask: Mask | None, points: Tensor) -> bool:
        """Tell whether a mask shows points (Px3) of the foreground, and none of the background."""
        if mask is None:
            return not bool(points[:, 2].any())
        size, side = self.view.size, self.backbone.image_size
        columns, rows = pixels_of(points, size, side).T
        return bool(((mask.over(size, side)[rows, columns] > 0) == (points[:, 2] > 0)).all())


Propagate = Callable[[VolumeSession, Target], dict[int, Mask]]
"""A rule: the masks of a target on all slices that show it."""

FindByName = Callable[[VolumeSession, Sequence[str]], tuple[list[Target], list[tuple[int, Mask]]]]
"""A rule: what organs of some names make to be asked by boxes, and masks by slice."""
