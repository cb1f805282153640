"""Measure what clicks are worth on labelled volumes: after a box, and from what is there.

    python scripts/clicks.py DIR --study results/clicks --cell X [--name NAME] [--tuned FILE]
        [--clicks 5] [--random 50] [--plane slice] [--cases CASE ...] [--organs ORGAN ...]

Each organ of each volume is asked by the box of its label, in 3-D or (``--plane slice``) on the
slice that shows most of it. Then each click goes on from the answer before it, in the middle of
the largest error, 3-D. Apart from that single clicks go on from the box's answer: on random voxels
in that box, and on random voxels where the answer is wrong. What the file has of other cases stays.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from propagation import LABELS, WINDOW, Session, merged, middle_of, of_before
from scipy import ndimage

from samparser_monai import methods
from samparser_monai.fetch import cache_dir
from samparser_monai.files import keep_apart
from samparser_monai.harness import write_run
from samparser_monai.metrics.scores import dice
from samparser_monai.sam import SamNetwork, backbone_named, build
from samparser_monai.sam.engines import prefix_hash
from samparser_monai.training.features import FeatureCache
from samparser_monai.tuned.part import open_tuned
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.layouts import abdomen_ct_items
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.transforms import Windowd

LEAST = 500  # voxels of an organ that is asked for


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
        places = np.argwhere(self.truth)
        self.low, self.high = places.min(0).tolist(), places.max(0).tolist()
        self.answer = self.ask([{"label": label, "box": [*self.low, *self.high]}])

    def ask(self, prompts: Sequence[dict[str, Any]]) -> MetaTensor:
        """Return the answer, a label volume 1xXxYxZ."""
        return self.session.segment(prompts, None if self.flat else Propagation()).labels()

    def click(self, answer: MetaTensor, *places: np.ndarray) -> MetaTensor:
        """Return the answer after a click on a voxel, and those that came before it."""
        kinds = [int(self.truth[tuple(place)]) for place in places]
        clicks = {"points": [place.tolist() for place in places], "point_labels": kinds}
        return self.ask([{"label": self.label, "mask": answer, **clicks}])

    def score(self, answer: MetaTensor) -> float:
        """Return the DSC of an answer in percent."""
        found = answer.numpy()[0] > 0
        return float(dice((found & self.truth).sum(), found.sum() + self.truth.sum()))

    def curve(self, clicks: int) -> list[float]:
        """Return the DSC of the box's answer, and after each click on the largest error."""
        answer, found, places = self.answer, [self.score(self.answer)], list[np.ndarray]()
        for _ in range(clicks):
            begun = time.monotonic()
            places.append(np.array(largest_error(answer.numpy()[0] > 0, self.truth)))
            answer = self.click(answer, *places)
            found.append(self.score(answer))
            print(f"{self.label}: {found[-1]:.2f} after {time.monotonic() - begun:.2f} s")
        return found

    def changes(self, places: np.ndarray) -> list[float]:
        """Return by how much single clicks on voxels (Nx3) change the DSC of the box's answer."""
        before = self.score(self.answer)
        return [self.score(self.click(self.answer, place)) - before for place in places]


def largest_error(found: np.ndarray, truth: np.ndarray) -> list[int]:
    """Return the voxel in the middle of the largest error (XxYxZ), on its largest slice."""
    best = np.zeros_like(truth)
    for wrong in (truth & ~found, found & ~truth):
        numbered, _ = ndimage.label(wrong)
        sizes = np.bincount(numbered.ravel())[1:]
        if len(sizes) and sizes.max() > best.sum():
            best = numbered == 1 + sizes.argmax()
    k = int(best.sum((0, 1)).argmax())
    return [*middle_of(best[:, :, k]), k]


def measure(organ: Organ, clicks: int, count: int) -> dict[str, list[float]]:
    """Return the figures of an organ, see the table ``clicks`` of the studies."""
    random = np.random.default_rng(0)
    wrong = np.argwhere((organ.answer.numpy()[0] > 0) != organ.truth)
    places = {
        "in the box": random.integers(organ.low, np.add(organ.high, 1), (count, 3)),
        "on errors": random.choice(wrong, count),
    }
    found = {"curve": organ.curve(clicks)}
    found |= {name: organ.changes(some) for name, some in places.items()}
    return {name: np.round(figures, 3).tolist() for name, figures in found.items()}


def parser_of(doc: str, data: str) -> argparse.ArgumentParser:
    """Return a parser of what scripts that measure clicks have in common.

    Args:
        doc: of the script; its first line is shown.
        data: the name of the argument that the data come from.
    """
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument(data)
    parser.add_argument("--study", type=Path, required=True, help="folder of its runs.jsonl")
    parser.add_argument("--cell", required=True, help="of the run, in that table")
    parser.add_argument("--name", default="SAM as published")
    parser.add_argument("--tuned", help="a tuned part; SAM as published if not given")
    parser.add_argument("--backbone", default="mobile_sam")
    parser.add_argument("--organs", nargs="*", default=list(LABELS), choices=list(LABELS))
    return parser


def network_of(given: argparse.Namespace) -> SamNetwork:
    """Return the network that such arguments name."""
    if given.tuned:
        return open_tuned(given.tuned)[0].eval()
    return methods.coefficients(build(given.backbone)).eval()


def main() -> None:
    """Measure the volumes of a folder and write the figures."""
    parser = parser_of(__doc__, "dir")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--random", type=int, default=50)
    parser.add_argument("--plane", choices=("volume", "slice"), default="volume")
    parser.add_argument("--cases", nargs="*")
    given = parser.parse_args()
    keep_apart({"study": given.study}, {"dir": given.dir})
    network = network_of(given)
    about = {"name": given.name, "backbone": network.backbone, "plane": given.plane}
    found = of_before(given.study, given.cell, about)
    split = abdomen_ct_items(given.dir, labels=LABELS)
    for item in [item for side in split.values() for item in side]:
        if given.cases and item["case"] not in given.cases:
            continue
        volume = read_volume(item["image"])
        truth = read_labels_like(volume, item["label"], LABELS).numpy()[0]
        windowed = Windowd(keys="image", window=WINDOW)({"image": volume})["image"]
        backbone = backbone_named(network.backbone)
        session = Session(windowed, network, backbone, LABELS)
        session.cache = FeatureCache(cache_dir() / "features")
        session.prefix = prefix_hash(network)
        for label in given.organs:
            if (there := truth == LABELS[label]).sum() >= LEAST:
                organ = Organ(session, label, there, given.plane == "slice")
                figures = {label: measure(organ, given.clicks, given.random)}
                print(item["case"], json.dumps(figures), flush=True)
                found = merged(found, {item["case"]: figures})
                write_run(given.study, given.cell, {**about, "cases": found})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
