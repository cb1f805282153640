"""A volume segmented slice by slice from few prompts, on exactly the source's grid."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Self

import torch
from monai.data import MetaTensor
from torch import Tensor
from tqdm import tqdm

from samparser_monai.geometry.bodies import body_box
from samparser_monai.geometry.frames import framed, into_frame
from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.volumes.asking import Ask, Asking, T, together
from samparser_monai.volumes.kept import Kept, KeptForGood
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.prompts import asks_by_name
from samparser_monai.volumes.refinement import refined
from samparser_monai.volumes.segmentation import Mask, Segmentation
from samparser_monai.volumes.starts import copied
from samparser_monai.volumes.target_reader import TargetReader
from samparser_monai.volumes.targets import Prompt, SlicePrompt, Target, pixels_of
from samparser_monai.volumes.view import View

TRUNK_AT_ONCE = {"cpu": 1}
PROMPTS_AT_ONCE = {"cpu": 4}
"""By device, 8 and 64 elsewhere: a processor's caches hold no more."""


class VolumeSession:
    """One volume, to be asked any number of times; the trunk runs once on a slice.

    The volume is on the CPU; features, embeddings and masks are on the network's device.

    Positions are in pixels of the model's square input (the network's own frame), slices count
    along the third axis of ``view``. Both serve what stands behind ``segment``; prompts are
    written in voxels of the volume's own array or in mm.

    Args:
        volume: 1xXxYxZ, windowed to 0..255, along any axes.
        network: the tuned network.
        backbone: of that network.
        labels: organ -> its value, or values of which the first is written.
        plane: of the pictures: axial, coronal, sagittal, or the one of acquisition.
        kept: how many slices' features (float16) and embeddings stay in memory. Of the least
            recently used the features go to a file, and the embeddings are made of them again.
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
        self.plane, self.kept = plane, kept
        self.network, self.backbone = network, backbone
        self.device = next(network.parameters()).device
        self.bar = tqdm(disable=True)  # of the slices that the trunk has seen
        self.computed = 0  # how many that were
        self.targets = TargetReader(self.view, labels, backbone.image_size)
        self.expected: set[int] = set()  # slices that will be asked for
        self._features, self._embeddings = KeptForGood(kept), Kept(kept)
        self._pictures = Kept(kept)

    def beside(self, network: SamNetwork | None = None) -> Self:
        """Return a session of its own on the same volume; what is kept of slices is common.

        Args:
            network: another tuned one on the same frozen prefix, whose embeddings are its own.
        """
        other = copy.copy(self)
        other.targets = TargetReader(self.view, self.labels, self.backbone.image_size)
        other.computed = 0
        if network is not None:
            other.network, other._embeddings = network, Kept(self._embeddings.most)
        return other

    def features(self, k: int) -> Tensor:
        """Return the output of the frozen prefix for slice ``k``, 1xCxhxw."""
        self.see([k])
        return self._features.back(k)[None].float()

    @torch.no_grad()
    def embedding(self, k: int) -> Tensor:
        """Return the image embedding of slice ``k``, 1xCxhxw."""
        return self._embeddings.of(k, lambda k: self.network.embed(self.features(k)))

    def picture(self, k: int, side: int) -> Tensor:
        """Return slice ``k`` in low resolution, in a square of this side, 0..255."""
        return self._pictures.of(
            k, lambda k: into_frame(self.view.picture(k)[None].float(), side)[0].to(self.device)
        )

    def sideways(self, slope: float, side: int) -> int:
        """Return how far a surface may move from slice to slice, in pixels of such a square.

        Args:
            slope: the same in slice distances.
            side: of the square.
        """
        x, y, step = self.view.spacing
        height, width = self.view.size
        return max(1, round(slope * step * side / max(x * width, y * height)))

    def body(self, k: int) -> Tensor:
        """Return the box (4,) of the body on slice ``k``, XYXY in the model's square."""
        return body_box(self.view.picture(k), self.backbone.image_size)

    @torch.no_grad()
    def see(self, slices: Iterable[int]) -> None:
        """Let the trunk see those of some slices that it has not seen, several at a time.

        Where there is room in a pass, the nearest of those go with them that will be asked for.
        """
        new = [k for k in dict.fromkeys(slices) if not self._features.has(k)]
        at_once = TRUNK_AT_ONCE.get(self.device.type, 8)
        while new:
            now, new = new[:at_once], new[at_once:]
            if len(now) < at_once:
                coming = (k for k in self.expected if k not in now and not self._features.has(k))
                now += sorted(coming, key=lambda k: abs(k - now[-1]))[: at_once - len(now)]
            computed = self.computed_features(now)
            if getattr(self.network, "split", True) is not None:  # else they are the pictures
                computed = computed.half()
            for k, features in zip(now, computed, strict=True):
                self._features.keep(k, features)
            self.bar.update(len(now))
            self.computed += len(now)

    def computed_features(self, slices: Sequence[int]) -> Tensor:
        """Return what the frozen prefix makes of some slices, NxCxhxw."""
        side, mean, std = self.backbone.image_size, self.backbone.mean, self.backbone.std
        images = [framed(self.view.picture(k)[None], side, mean, std) for k in slices]
        return self.network.features(torch.stack(images).to(self.device))

    @torch.no_grad()
    def decode(self, k: int, names: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits Nxhxw and predicted IoU (N) of N organs on slice ``k``, on the CPU.

        Args:
            k: slice of the view.
            names: places of the organs among those that the network knows by name.
        """
        body = self.body(k).repeat(len(names), 1)
        logits, iou = self.network.decode(self.embedding(k), [body], names=[names])
        return logits[:, 0].cpu(), iou[:, 0].cpu()

    def name_of(self, organ: str) -> int | None:
        """Return its place among those that the network knows by name, on axial slices alone."""
        names = getattr(self.network, "named_prompts", None)
        if names is None or organ not in names.taught or self.view.plane != "axial":
            return None
        return names.organs.index(organ)

    def answer(self, asks: Sequence[Ask]) -> list[Mask]:
        """Return the masks that prompts ask for, of any slices, in their order."""
        self.see(ask.k for ask in asks)
        order = sorted(range(len(asks)), key=lambda n: (asks[n].kind, asks[n].k))
        at_once = PROMPTS_AT_ONCE.get(self.device.type, 64)
        found: dict[int, Mask] = {}
        for _, alike in groupby(order, key=lambda n: asks[n].kind):
            places = list(alike)
            for start in range(0, len(places), at_once):
                some = places[start : start + at_once]
                found |= zip(some, self._pass([asks[n] for n in some]), strict=True)
        return [found[n] for n in range(len(asks))]

    @torch.no_grad()
    def _pass(self, asks: Sequence[Ask]) -> list[Mask]:
        """Return the masks of one pass of the decoder: prompts of one kind, slice by slice."""
        slices = [list(of_slice) for _, of_slice in groupby(asks, key=lambda ask: ask.k)]
        boxed, pointed, named = asks[0].kind
        masked = any(ask.logits is not None for ask in asks)
        names = {"names": [torch.tensor([a.name for a in s]) for s in slices]} if named else {}
        logits, iou = self.network.decode(
            torch.cat([self.embedding(of_slice[0].k) for of_slice in slices]),
            [_stacked(a.prompt.box for a in s) for s in slices] if boxed else None,
            [_stacked(a.prompt.points for a in s) for s in slices] if pointed else None,
            [[a.logits if a.logits is None else a.logits[None] for a in s] for s in slices]
            if masked
            else None,
            **names,
        )
        return list(map(Mask, (a.label for a in asks), logits[:, 0], iou[:, 0].cpu().tolist()))

    def run(self, rule: Asking[T]) -> T:
        """Return what a rule finds, its prompts answered."""
        asks = next(rule)
        while True:
            try:
                asks = rule.send(self.answer(asks))
            except StopIteration as end:
                return end.value

    def segment(
        self,
        prompts: Sequence[Prompt],
        propagate: "Propagate | None" = None,
        naming: "FindByName | None" = None,
    ) -> Segmentation:
        """Segment what the prompts of this volume ask for.

        Call it again with one prompt more after a click: features are not computed again.

        Args:
            prompts: as in docs/how_to/prompts.md, of which ``mask`` may be read already.
            propagate: how a target spreads to slices without a prompt. Without a rule a 3-D box
                is asked for on each of its slices, and a prompt on a slice for that slice alone.
            naming: how organs are found that prompts ask for by name alone.

        Names are learned on axial slices. Where the acquisition's are others, and prompts ask by
        name alone, the axial ones are asked; their features are not kept.

        Raises:
            InputError: a prompt leaves the volume, or a mask lies on another grid.
        """
        by_name, warnings = self._by_name(prompts), []
        if by_name and self.view.plane != "axial":
            if self.plane == "acquisition" and all(map(asks_by_name, prompts)):
                return self._axial().segment(prompts, propagate, naming)
            warnings.append(
                f"asked by name on {self.view.plane} slices: names are learned on axial ones, "
                "look at these organs, or choose --plane axial"
            )
        found: dict[int, list[Mask]] = defaultdict(list)
        known: list[Target] = []
        if by_name:
            assert naming is not None, "organs are asked for by name without a rule for it"
            known, masks = naming(self, by_name)
            for k, mask in masks:
                found[k].append(mask)
        targets = self.targets([p for p in prompts if not asks_by_name(p)], known)
        self.expected = {k for t in targets if t.span for k in range(t.span[0], t.span[1] + 1)}
        rules = []
        for target in targets:
            if target.draft is not None:
                for k, mask in refined(self, target, propagate).items():
                    found[k].append(mask)
            elif propagate is None or target.complete:
                rules.append(copied(self, target))
            else:
                rules.append(propagate(self, target))
        for of_target in self.run(together(rules)) if rules else []:
            for k, mask in of_target.items():
                found[k].append(mask)
        return Segmentation(
            self.view,
            self.labels,
            self.backbone.image_size,
            found,
            [click for target in targets for click in target.clicks()],
            [*warnings, *self.targets.warnings],
            by_name,
        )

    def _by_name(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the organs that prompts ask for by name, but for those that a mask shows."""
        asked = dict.fromkeys(p["label"] for p in prompts if asks_by_name(p))
        masked = self.targets.masked(prompts) if asked else ()
        return [organ for organ in asked if organ not in masked]

    def _axial(self) -> "VolumeSession":
        """Return a session on the same volume's axial slices, which has seen none of them."""
        found = VolumeSession(
            self.view.volume, self.network, self.backbone, self.labels, "axial", self.kept
        )
        found.bar = self.bar
        return found

    def ask(self, k: int, label: str, prompt: SlicePrompt, logits: Tensor | None = None) -> Mask:
        """Return the mask of one prompt, and perhaps a mask prompt (hxw), on slice ``k``."""
        return self.answer([Ask(k, label, prompt, logits)])[0]

    def agrees(self, mask: Mask | None, points: Tensor) -> bool:
        """Tell whether a mask shows points (Px3) of the foreground, and none of the background."""
        if mask is None:
            return not bool(points[:, 2].any())
        size, side = self.view.size, self.backbone.image_size
        columns, rows = pixels_of(points, size, side).T
        shown = mask.over(size, side)[rows, columns].cpu() > 0
        return bool((shown == (points[:, 2] > 0)).all())


def _stacked(parts: Iterable[Tensor | None]) -> Tensor:
    return torch.stack([part for part in parts if part is not None])


Propagate = Callable[[VolumeSession, Target], Asking[dict[int, Mask]]]
"""A rule: the masks of a target on all slices that show it."""

FindByName = Callable[[VolumeSession, Sequence[str]], tuple[list[Target], list[tuple[int, Mask]]]]
"""A rule: what organs of some names make to be asked by boxes, and masks by slice."""
