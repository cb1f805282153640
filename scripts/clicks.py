"""Measure what clicks are worth on labelled volumes: from a box, then from what is there.

    python scripts/clicks.py DIR [--tuned FILE] [--clicks 5] [--random 50] [--plane slice]

Each organ of each volume is asked by the box of its label, in 3-D or (``--plane slice``) on the
slice that shows most of it. Then each click goes on from the answer before it, in the middle of
the largest error, and apart from that single clicks on random voxels in that box. Prints the DSC
(mean over the organs of all volumes), the seconds of a click, the worst that a random one did.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage

from samparser_monai.metrics.scores import dice
from samparser_monai.sam import backbone_named, build
from samparser_monai.tuned.part import open_tuned
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.layouts import abdomen_ct_items
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.transforms import Windowd

LABELS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
WINDOW = (-160.0, 240.0)
LEAST = 2000  # voxels of an organ that is asked for


class Organ:
    """One organ of a volume, its truth, and what prompts make of it.

    Args:
        session: of the volume.
        label: the organ.
        truth: XxYxZ, bool, of the volume's own array.
        flat: asked on one slice alone.
    """

    def __init__(self, session: VolumeSession, label: str, truth: np.ndarray, flat: bool) -> None:
        self.session, self.label, self.flat = session, label, flat
        self.truth = truth.copy()
        if flat:
            self.truth[:, :, np.arange(truth.shape[2]) != truth.sum((0, 1)).argmax()] = False
        low, high = (edge(np.argwhere(self.truth), 0).tolist() for edge in (np.min, np.max))
        self.low, self.high = low, high
        self.answer = self.ask([{"label": label, "box": [*low, *high]}])

    def ask(self, prompts: Sequence[dict[str, Any]]) -> MetaTensor:
        """Return the answer, a label volume 1xXxYxZ."""
        return self.session.segment(prompts, None if self.flat else Propagation()).labels()

    def click(self, answer: MetaTensor, place: np.ndarray) -> MetaTensor:
        """Return the answer after a click on a voxel."""
        kind = int(self.truth[tuple(place)])
        click = {"points": [place.tolist()], "point_labels": [kind]}
        return self.ask([{"label": self.label, "mask": answer, **click}])

    def score(self, answer: MetaTensor) -> float:
        """Return the DSC of an answer in percent."""
        found = answer.numpy()[0] > 0
        return float(dice((found & self.truth).sum(), found.sum() + self.truth.sum()))

    def largest_error(self, answer: MetaTensor) -> np.ndarray:
        """Return the voxel in the middle of the largest error, on its largest slice."""
        found, best = answer.numpy()[0] > 0, np.zeros(self.truth.shape, bool)
        for wrong in (self.truth & ~found, found & ~self.truth):
            numbered, _ = ndimage.label(wrong)
            sizes = np.bincount(numbered.ravel())[1:]
            if len(sizes) and sizes.max() > best.sum():
                best = numbered == 1 + sizes.argmax()
        k = int(best.sum((0, 1)).argmax())
        inside = ndimage.distance_transform_edt(best[:, :, k])
        return np.array([*np.unravel_index(inside.argmax(), inside.shape), k])


def organs_of(options: argparse.Namespace) -> list[Organ]:
    """Ask for each organ of each labelled volume by its box."""
    if options.tuned:
        network, about = open_tuned(options.tuned)
        labels = about.get("labels", LABELS)
    else:
        network, labels = build(options.backbone), LABELS
    backbone, found = backbone_named(network.backbone), []
    split = abdomen_ct_items(options.dir, labels=labels)
    for item in [item for side in split.values() for item in side]:
        volume = read_volume(item["image"])
        truth = read_labels_like(volume, item["label"], labels).numpy()[0]
        windowed = Windowd(keys="image", window=WINDOW)({"image": volume})["image"]
        session = VolumeSession(windowed, network.eval(), backbone, labels)
        for label, values in session.labels.items():
            if (there := np.isin(truth, values)).sum() >= LEAST:
                found.append(Organ(session, label, there, options.plane == "slice"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dir")
    parser.add_argument("--tuned")
    parser.add_argument("--backbone", default="mobile_sam")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--random", type=int, default=50)
    parser.add_argument("--plane", choices=("volume", "slice"), default="volume")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    curves, changes, seconds = [], [], []
    for organ in organs_of(options):
        answer, curve = organ.answer, [organ.score(organ.answer)]
        for _ in range(options.clicks):
            begun = time.monotonic()
            answer = organ.click(answer, organ.largest_error(answer))
            seconds.append(time.monotonic() - begun)
            curve.append(organ.score(answer))
        for _ in range(options.random):
            place = random.integers(organ.low, np.add(organ.high, 1))
            changes.append(organ.score(organ.click(organ.answer, place)) - curve[0])
        curves.append(curve)
        print(organ.label, np.round(curve, 1).tolist(), flush=True)
    told = {
        "organs": len(curves),
        "dsc": np.mean(curves, 0).round(2).tolist(),
        "click_s": round(float(np.median(seconds)), 2),
        "longest_s": round(max(seconds), 2),
        "random_mean": round(float(np.mean(changes)), 3) if changes else None,
        "random_worst": round(min(changes), 2) if changes else None,
        "random_worse": sum(change < -0.05 for change in changes),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
