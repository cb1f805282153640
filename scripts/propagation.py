"""Measure what few prompts make of a volume whose labels are known: DSC to an organ and to a way.

    python scripts/propagation.py --dataset_dir DATALIST.json --study results/propagation --cell X
        [--name NAME] [--tuned FILE]

The boxes are those of the labels: one to each connected part of an organ. A tuned part that knows
organs by name is asked by these too. With --ways or --organs only some are measured, and what the
file has of the others stays.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from scipy import ndimage
from tqdm import tqdm

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.fetch import cache_dir
from samparser_monai.files import keep_apart
from samparser_monai.harness import read_runs, write_run
from samparser_monai.sam import SamNetwork, backbone_named, build
from samparser_monai.sam.engines import prefix_hash, with_engine
from samparser_monai.states import differences
from samparser_monai.training.features import FeatureCache
from samparser_monai.tuned.part import open_tuned
from samparser_monai.volumes.cases import list_volumes
from samparser_monai.volumes.naming import Naming
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.segmentation import Segmentation
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.transforms import Windowd

LABELS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
WINDOW = (-160.0, 240.0)
BY_NAME = {f"by name, {stage}": stage for stage in ("name", "components", "refined")}
LEAST_ML = 5.0  # a smaller part of an organ is not asked for
CLICKED = {"one middle click": 1, "3 clicked slices": 3, "a click on every slice": 0}
UNNAMED = ", its name not asked"
Prompts = list[dict[str, Any]]
Ask = Callable[[str, np.ndarray, int], dict[str, Any]]


class Session(VolumeSession):
    """A session whose features stay on disk: trying a rule costs passes of the decoder only."""

    def computed_features(self, slices: Sequence[int]) -> torch.Tensor:
        """Return features from the disk, or the network's."""
        found = []
        for k in slices:
            key = self.cache.key(self.view.picture(k).contiguous(), self.prefix)
            features = self.cache.read(key)
            if features is None:
                self.cache.write(key, features := super().computed_features([k])[0])
            found.append(features.float())
        return torch.stack(found)


def parts_of(label: MetaTensor) -> list[tuple[str, np.ndarray]]:
    """Return the connected parts of the organs, XxYxZ."""
    values, found = label.numpy()[0], []
    voxel = abs(float(np.linalg.det(np.asarray(label.affine)[:3, :3]))) / 1000
    for organ, value in LABELS.items():
        numbered, count = ndimage.label(values == value)
        sizes = np.bincount(numbered.ravel(), minlength=count + 1) * voxel
        found += [(organ, numbered == n) for n in range(1, count + 1) if sizes[n] >= LEAST_ML]
    return found


def box_of(organ: str, mask: np.ndarray, k: int | None = None) -> dict[str, Any]:
    """Return the prompt of the tight box of a mask, XxYxZ, or XxY on slice ``k``."""
    places = np.argwhere(mask)
    if k is not None:
        places = np.c_[places, np.full(len(places), k)]
    return {"label": organ, "box": [*places.min(0).tolist(), *places.max(0).tolist()]}


def every_slice(parts: list[tuple[str, np.ndarray]]) -> Prompts:
    """Return a box to each piece on each slice."""
    found = []
    for organ, mask in parts:
        for k in np.flatnonzero(mask.any((0, 1))).tolist():
            numbered, count = ndimage.label(mask[..., k], np.ones((3, 3)))
            found += [box_of(organ, numbered == n, k) for n in range(1, count + 1)]
    return [p for p in found if all(p["box"][axis] < p["box"][3 + axis] for axis in (0, 1))]


def slices_of(parts: list[tuple[str, np.ndarray]], count: int, prompt: Ask = box_of) -> Prompts:
    """Return prompts on ``count`` slices of each part, in the middles of as many equal shares.

    With 0 that is on all of its slices.
    """
    found = []
    for organ, mask in parts:
        shown = np.flatnonzero(mask.any((0, 1)))
        for n in range(most := count or len(shown)):
            k = int(shown[int((n + 0.5) / most * len(shown))])
            found.append(prompt(organ, mask[..., k], k))
    return found


def click_of(organ: str, mask: np.ndarray, k: int) -> dict[str, Any]:
    """Return the prompt of a click in the middle of a mask, XxY on slice ``k``."""
    return {"label": organ, "points": [[*middle_of(mask), k]]}


def middle_of(mask: np.ndarray) -> list[int]:
    """Return the pixel of a mask (XxY) that lies farthest from its edge."""
    # without the padding what touches the picture's edge would have its middle there
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return [int(n) for n in np.unravel_index(inside.argmax(), inside.shape)]


def ways(
    parts: list[tuple[str, np.ndarray]], options: dict[str, float]
) -> dict[str, tuple[Prompts, Propagation | None, Naming | None]]:
    """Return the ways to be compared: their prompts and their rules."""
    whole = [box_of(*part) for part in parts]
    known: dict[str, tuple[Prompts, Propagation | None, Naming | None]] = {
        "a box on every slice": (every_slice(parts), None, None),
        "3-D box copied": (whole, None, None),
        "3-D box, propagated": (whole, Propagation(**options), None),
    }
    for count in (1, 2, 3, 5):
        name = "one middle box" if count == 1 else f"{count} boxed slices"
        known[name] = (slices_of(parts, count), Propagation(**options), None)
    for name, count in CLICKED.items():
        clicks = slices_of(parts, count, click_of)
        rule = Propagation(**options) if count else None
        known |= {way: (clicks, rule, None) for way in (name, name + UNNAMED)}
    organs: Prompts = [{"label": organ} for organ in dict(parts)]
    return known | {way: (organs, None, Naming(stage)) for way, stage in BY_NAME.items()}


def apart(found: Segmentation, organ: str, truth: np.ndarray) -> float:
    """Return how far predicted and real IoU of an organ's masks are apart: the mean, in points."""
    gaps = []
    for k, masks in found.masks.items():
        own = [mask for mask in masks if mask.label == organ]
        if own:
            logits = [mask.over(found.view.size, found.image_size).numpy() for mask in own]
            shown, true = np.max(logits, axis=0) > 0, truth[..., k].T
            real = (shown & true).sum() / max(1, (shown | true).sum())
            gaps.append(abs(np.mean([mask.iou for mask in own]) - real))
    return round(100 * float(np.mean(gaps)), 2) if gaps else 0.0


def measure(
    item: dict[str, Any], network: SamNetwork, folder: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Return way -> organ -> DSC (%) in 3-D of one volume.

    Also how far the predicted IoU is off, and, of ways by name, what they find on slices without
    the organ, in % of its volume.
    """
    image, label = (
        Orientation("LPS", labels=None)(read_volume(item[key])) for key in ("image", "truth")
    )
    volume = Windowd("image", WINDOW)({"image": image})["image"]
    session = Session(volume, network, backbone_named(network.backbone), LABELS, "axial")
    session.cache = FeatureCache(folder)
    session.prefix = f"{given.engine}/{given.engine_precision}/{prefix_hash(network)}"
    parts = [part for part in parts_of(label) if part[0] in given.organs]
    result: dict[str, dict[str, float]] = defaultdict(dict)
    asked = {way: how for way, how in ways(parts, given.rule).items() if way in given.ways}
    names = network.named_prompts
    known = [] if names is None else names.taught
    for way, (prompts, rule, naming) in tqdm(asked.items(), item["case"]):
        prompts = [p for p in prompts if naming is None or p["label"] in known]
        if not prompts or (way.endswith(UNNAMED) and not known):
            continue
        network.named_prompts = None if way.endswith(UNNAMED) else names
        segmentation = session.segment(prompts, rule, naming)
        network.named_prompts = names
        found = segmentation.labels().numpy()[0]
        for organ in dict(parts):
            one = found == LABELS[organ]
            other = np.any([mask for name, mask in parts if name == organ], axis=0)
            result[way][organ] = round(200 * (one & other).sum() / (one.sum() + other.sum()), 2)
            result[f"{way}: IoU apart"][organ] = apart(segmentation, organ, other)
            if naming is not None:
                false = one[..., ~other.any((0, 1))].sum() / other.sum()
                result[f"{way}: false volume"][organ] = round(100 * float(false), 2)
        tqdm.write(f"{item['case']}: {way}: {result[way]}")
    return result


def of_before(study: Path, cell: str, about: dict[str, str]) -> dict[str, Any]:
    """Return the cases, case -> way -> organ -> DSC, that an earlier run of the cell has.

    Raises:
        InputError: the cell is of another model.
    """
    found = read_runs(study).get(cell, {**about, "cases": {}})
    if differs := differences({**found, "cases": None}, {**about, "cases": None}):
        raise InputError(f"--cell {cell} is of another model ({differs}): name another")
    return found["cases"]


def merged(found: dict[str, Any], cases: dict[str, Any]) -> dict[str, Any]:
    """Return cases, with what those of an earlier run have besides."""
    for case, by_way in cases.items():
        for way, figures in by_way.items():
            found.setdefault(case, {}).setdefault(way, {}).update(figures)
    return found


def main() -> None:
    """Measure the volumes of a datalist and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--study", type=Path, required=True, help="folder of its runs.jsonl")
    parser.add_argument("--cell", required=True, help="of the run, in that table")
    parser.add_argument("--name", default="SAM as published")
    parser.add_argument("--backbone", default="mobile_sam")
    parser.add_argument("--tuned", help="a tuned part; SAM as published if not given")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--engine_precision", default="float32")
    parser.add_argument("--cases", nargs="*")
    parser.add_argument("--rule", type=json.loads, default={}, help="options of Propagation")
    parser.add_argument("--ways", nargs="*", default=list(ways([], {})), help="to be measured")
    parser.add_argument("--organs", nargs="*", default=list(LABELS), choices=list(LABELS))
    given = parser.parse_args()
    if unknown := set(given.ways) - set(ways([], {})):
        parser.error(f"--ways {sorted(unknown)}: known are {list(ways([], {}))}")
    network = (
        open_tuned(given.tuned)[0] if given.tuned else methods.zero_shot(build(given.backbone))
    )
    about = {"name": given.name, "backbone": network.backbone}
    if given.engine != "torch":
        about |= {"engine": given.engine, "engine_precision": given.engine_precision}
    try:
        with_engine(network, given.engine, cache_dir() / "engines", given.engine_precision)
        keep_apart({"study": given.study}, {"dataset_dir": given.dataset_dir})
        before = of_before(given.study, given.cell, about)
    except InputError as error:
        parser.error(str(error))
    items = list_volumes(given.dataset_dir)
    listed = [item["case"] for item in items]
    if unknown_cases := set(given.cases or ()) - set(listed):
        parser.error(f"--cases {sorted(unknown_cases)}: {given.dataset_dir} validates on {listed}")
    cases = {
        item["case"]: measure(item, network.eval(), cache_dir() / "features", given)
        for item in items
        if not given.cases or item["case"] in given.cases
    }
    write_run(given.study, given.cell, {**about, "cases": merged(before, cases)})


if __name__ == "__main__":
    main()
