"""The pictures of docs/how_to/steps, one to each step of the page for clinicians.

    python scripts/make_steps.py

They show what published MobileSAM answers on the demonstration CT, asked as the server asks it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from make_gallery import save
from matplotlib.patches import Rectangle
from monai.data import MetaTensor
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bundle" / "monailabel"))
from lib.scribbles import Strokes

from samparser_monai.metrics.scores import dice
from samparser_monai.sam import backbone_named, build
from samparser_monai.volumes.demonstration import demonstration_dir, fetch_demonstration
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.transforms import Windowd

FOLDER = Path("docs/how_to/steps")
LABELS, ORGAN, WINDOW = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}, "liver", (-160, 240)
Place = Sequence[int]


class Steps:
    """The demonstration CT, what is asked of it step by step, and pictures of that."""

    def __init__(self) -> None:
        fetch_demonstration()
        volume = read_volume(demonstration_dir() / "images" / "fine")
        truth = read_labels_like(volume, demonstration_dir() / "labels" / "fine.nii.gz")
        self.truth = truth.numpy()[0] == LABELS[ORGAN]
        self.picture = Windowd(keys="image", window=WINDOW)({"image": volume})["image"]
        network = build("mobile_sam").eval()
        self.session = VolumeSession(self.picture, network, backbone_named("mobile_sam"), LABELS)
        self.k = int(self.truth.sum((0, 1)).argmax())
        self.drawn: dict[str, Any] = {}

    def ask(self, rule: Propagation | None = None, **prompt: Any) -> np.ndarray:
        """Return the answer to a prompt, XxYxZ, bool."""
        found = self.session.segment([{"label": ORGAN, **prompt}], rule)
        return found.labels().numpy()[0] == LABELS[ORGAN]

    def draft(self, answer: np.ndarray) -> MetaTensor:
        """Return an answer as what a further prompt goes on from."""
        values = torch.from_numpy(answer[None] * np.uint8(LABELS[ORGAN]))
        return MetaTensor(values, affine=self.picture.affine)

    def box(self, slices: slice) -> list[int]:
        """Return the box of the organ on some slices."""
        places = np.argwhere(self.truth[:, :, slices])
        low, high = places.min(0), places.max(0)
        return [
            *low[:2].tolist(),
            low[2] + slices.start,
            *high[:2].tolist(),
            high[2] + slices.start,
        ]

    def middle(self, wrong: np.ndarray) -> list[int]:
        """Return the voxel in the middle of the largest error on the slice."""
        inside = ndimage.distance_transform_edt(wrong[:, :, self.k])
        return [*map(int, np.unravel_index(inside.argmax(), inside.shape)), self.k]

    def dsc(self, answer: np.ndarray, k: int) -> float:
        """Return the DSC in percent on a slice."""
        one, other = answer[:, :, k], self.truth[:, :, k]
        return float(dice((one & other).sum(), one.sum() + other.sum()))

    def draw(
        self,
        name: str,
        answers: Sequence[tuple[str, np.ndarray, int]],
        box: Sequence[int] = (),
        points: Sequence[tuple[Place, int]] = (),
        strokes: Strokes | None = None,
    ) -> None:
        """Draw answers, each with a title and its slice, and the prompts on the last of them."""
        figure, axes = plt.subplots(
            1, len(answers), figsize=(4.5 * len(answers), 3.9), layout="constrained", squeeze=False
        )
        for axis, (title, answer, k) in zip(axes[0], answers, strict=True):
            axis.imshow(self.picture.numpy()[0, :, :, k].T, cmap="gray", vmin=0, vmax=255)
            axis.contour(self.truth[:, :, k].T, [0.5], colors="white", linestyles=":", linewidths=1)
            if answer[:, :, k].any():
                axis.contour(answer[:, :, k].T, [0.5], colors="tab:orange", linewidths=1.5)
            axis.set_title(f"{title}: DSC {self.dsc(answer, k):.0f}", fontsize=10)
            axis.set(xlim=(30, 480), ylim=(420, 90))
            axis.set_axis_off()
        last = axes[0, -1]
        if box:
            corner, sides = box[:2], (box[3] - box[0], box[4] - box[1])
            last.add_patch(Rectangle(corner, *sides, fill=False, color="tab:cyan", linewidth=1.5))
        for (x, y, _), kind in points:
            last.plot(x, y, "P" if kind else "X", color="lime" if kind else "red", markersize=9)
        if strokes is not None:
            for there, colour in ((strokes.inside, "lime"), (strokes.outside, "red")):
                last.scatter(*np.nonzero(there[:, :, self.k]), s=3, color=colour)
        FOLDER.mkdir(exist_ok=True)
        figure.savefig(FOLDER / f"{name}.png", dpi=90)
        plt.close(figure)
        save(FOLDER / f"{name}.png", FOLDER / f"{name}.png")


def main() -> None:
    """Make the pictures."""
    steps = Steps()
    k, truth = steps.k, steps.truth
    place = steps.middle(truth)
    click = steps.ask(points=[place], point_labels=[1])
    steps.draw("click", [("one click", click, k)], points=[(place, 1)])
    box = steps.box(slice(k, k + 1))
    boxed = steps.ask(box=box)
    steps.draw("box", [("a box", boxed, k)], box)
    for name, kind, title in (("more", 1, "a point"), ("less", 0, "a background point")):
        rough = click if not kind else ndimage.binary_opening(boxed, np.ones((41, 41, 1)))
        wrong = (truth & ~rough) if kind else (rough & ~truth)
        place = steps.middle(wrong)
        after = steps.ask(mask=steps.draft(rough), points=[place], point_labels=[kind])
        shown = [("before", rough, k), (f"after {title}", after, k)]
        steps.draw(name, shown, points=[(place, kind)])
    stroke = np.zeros_like(truth)
    x, y, _ = steps.middle(click & ~truth)
    stroke[x : x + 60, y - 3 : y + 3, k] = True
    strokes = Strokes(ORGAN, click, np.zeros_like(truth), stroke & ~truth)
    (said,) = strokes.prompts([])
    after = (
        strokes.painted(steps.draft(steps.ask(mask=steps.draft(click), **said)), 1).numpy()[0] > 0
    )
    shown = [("before", click, k), ("after a stroke", after, k)]
    steps.draw("brush", shown, strokes=strokes)
    depth = truth.shape[2]
    whole = steps.ask(Propagation(), box=steps.box(slice(0, depth)))
    some = np.flatnonzero(truth.any((0, 1)))[[1, depth // 2, -2]].tolist()
    steps.draw("volume", [(f"slice {n}", whole, n) for n in some])


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
