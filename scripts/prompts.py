"""Measure what a user's prompts are worth: boxes tight and loose, a point, and clicks after each.

    python scripts/prompts.py DATALIST.json --study results/prompts --cell X [--name NAME]
        [--tuned FILE] [--clicks 5] [--organs ORGAN ...]

Each connected part of an organ on each axial slice of the validation's volumes is asked for in each
way. Then each click goes on from the answer before it, in the middle of the largest error.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from clicks import largest_error, middle_of, network_of, parser_of
from monai.transforms import Orientation
from propagation import LABELS, WINDOW, Session, of_before
from scipy import ndimage
from tqdm import tqdm

from samparser_monai.fetch import cache_dir
from samparser_monai.files import keep_apart
from samparser_monai.harness import write_run
from samparser_monai.metrics.surfaces import OrganScores
from samparser_monai.sam import backbone_named
from samparser_monai.sam.engines import prefix_hash
from samparser_monai.training.features import FeatureCache
from samparser_monai.volumes.cases import list_volumes
from samparser_monai.volumes.reading import read_volume
from samparser_monai.volumes.transforms import Windowd

BOXES = {"a tight box": 0, "a box, 0 to 20 px": 20, "a box, 0 to 50 px": 50}
POINT = "a point"
WAYS = (*BOXES, POINT)
LEAST = 100  # pixels of a part that is asked for
SCORES = OrganScores()


def parts_of(truth: np.ndarray) -> Iterator[np.ndarray]:
    """Yield each connected part of XxY."""
    numbered, count = ndimage.label(truth, np.ones((3, 3)))
    for n in range(1, count + 1):
        if (numbered == n).sum() >= LEAST:
            yield numbered == n


def prompt_of(way: str, part: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """Return the prompt of a part (XxY), in voxels of a volume of this slice alone."""
    if way == POINT:
        return {"points": [[*middle_of(part), 0]], "point_labels": [1]}
    places = np.argwhere(part)
    side, limit = max(part.shape), np.subtract(part.shape, 1)
    # as in training, each side on its own, in pixels of a square of 1024
    moved = random.uniform(0, BOXES[way] * side / 1024, (2, 2))
    low, high = places.min(0) - moved[0], places.max(0) + moved[1]
    return {"box": [*np.maximum(low, 0).tolist(), 0, *np.minimum(high, limit).tolist(), 0]}


def curve(
    session: Session, organ: str, part: np.ndarray, prompt: dict[str, Any], clicks: int
) -> list[dict[str, float]]:
    """Return DSC and NSD of the prompt's answer, and after each click."""
    spacing, found = np.linalg.norm(session.view.values.affine[:2, :2], axis=0), []
    answer, places = (
        session.segment([{"label": organ, **prompt}]).labels(),
        prompt.get("points", []),
    )
    for n in range(clicks + 1):
        shown = answer.numpy()[0, ..., 0] > 0
        found.append(SCORES(shown, part, spacing, organ))
        if n < clicks and (shown != part).any():
            places = [*places, largest_error(shown[..., None], part[..., None])]
            told = {"points": places, "point_labels": [int(part[x, y]) for x, y, _ in places]}
            answer = session.segment([{"label": organ, "mask": answer, **told}]).labels()
    return found


def measure(
    item: dict[str, Any], network: Any, given: argparse.Namespace
) -> dict[str, dict[str, dict[str, list[list[float]]]]]:
    """Return organ -> way -> ``dsc`` and ``nsd`` -> of each part the figures after each click."""
    image, label = (
        Orientation("LPS", labels=None)(read_volume(item[key])) for key in ("image", "truth")
    )
    volume = Windowd("image", WINDOW)({"image": image})["image"]
    cache, prefix = FeatureCache(cache_dir() / "features"), prefix_hash(network)
    result: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for k in tqdm(range(volume.shape[-1]), item["case"]):
        backbone = backbone_named(network.backbone)
        session = Session(volume[..., k : k + 1], network, backbone, LABELS, "axial")
        session.cache, session.prefix = cache, prefix
        for organ in given.organs:
            for n, part in enumerate(parts_of(label.numpy()[0, ..., k] == LABELS[organ])):
                for way in WAYS:
                    random = np.random.default_rng([k, n, WAYS.index(way)])
                    prompt = prompt_of(way, part, random)
                    scores = curve(session, organ, part, prompt, given.clicks)
                    for score in ("dsc", "nsd"):
                        result[organ][way][score].append([one[score] for one in scores])
    return json.loads(json.dumps(result))


def main() -> None:
    """Measure the volumes that a datalist validates by, and write the figures."""
    parser = parser_of(__doc__, "dataset_dir")
    parser.add_argument("--clicks", type=int, default=5)
    given = parser.parse_args()
    keep_apart({"study": given.study}, {"dataset_dir": given.dataset_dir})
    network = network_of(given)
    about = {"name": given.name, "backbone": network.backbone}
    found = of_before(given.study, given.cell, about)
    for item in list_volumes(given.dataset_dir):
        found[item["case"]] = measure(item, network, given)
        write_run(given.study, given.cell, {**about, "cases": found})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
