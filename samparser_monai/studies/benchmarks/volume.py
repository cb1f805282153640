"""A whole CT volume: the bare trunk, ours by boxes and by names, and stock SamPredictor."""

import tempfile
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from torch import Tensor
from tqdm import tqdm

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import architecture, backbone_named, build
from samparser_monai.sam.engines import Precision, with_engine
from samparser_monai.sam.named_prompts import with_names
from samparser_monai.studies.benchmarks.timing import DEVICE, once
from samparser_monai.training.transforms import IntoFramed
from samparser_monai.volumes.inferer import VolumeInferer
from samparser_monai.volumes.naming import Naming
from samparser_monai.volumes.propagation import Propagation

SLICES = {"vit_b": 15}
"""129 of the others; of vit_b each takes up to ten seconds on two cores."""
SAMPLED = 12
"""Slices on which the bare trunk and the predictor are timed, half of them before ours; a third of
fewer than 36."""
ORGANS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
PLACES = ((160, 200, 90), (330, 300, 45), (380, 180, 55), (260, 260, 35))  # x, y, radius


def volume(name: str) -> dict[str, Any]:
    """Time a volume of 129 slices with 4 organs: by 3-D boxes, with propagation, or by name.

    Names are not trained: each asks by the box of its organ's largest slice. The bare trunk has its
    pictures ready. The predictor takes every slice, and a box of each organ on it. Both do the same
    on each slice: some are timed, and stand for all.
    """
    slices = SLICES.get(name, 129)
    network: Any
    try:
        network = build(name)
    except InputError:  # its weights are not at hand
        network = architecture(name)
        show_what_is_asked(network)
    network, backbone = methods.coefficients(network), backbone_named(name)
    pixels, prompts = scene(slices)
    with_names(network, [*ORGANS], "own").to(DEVICE)
    network.named_prompts.places.copy_(torch.tensor([p["box"] for p in prompts])[:, [0, 1, 3, 4]])
    network.named_prompts.tokens.data.fill_(1e-3)  # as if they were taught
    network.named_prompts.places /= pixels.shape[2]  # the body is the whole picture
    by_name: list[dict[str, Any]] = [{"label": organ} for organ in ORGANS]
    inferer = VolumeInferer(backbone, ORGANS, Propagation(), plane="axial", naming=Naming())
    frame = IntoFramed(backbone.image_size, backbone.mask_size, backbone.mean, backbone.std)
    network.image_encoder.img_size = backbone.image_size  # what the predictor asks for
    stock = Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder)
    predictor = SamPredictor(stock)
    took: dict[str, list[float]] = {"bare_trunk": [], "predictor": []}

    def others(slices: Sequence[int]) -> None:
        for k in tqdm(slices, desc="in turn"):
            picture = frame({"image": pixels[0, :, :, :, k].expand(3, -1, -1)})["image"]
            rgb = pixels[0, 0, :, :, k].numpy().astype(np.uint8)[..., None].repeat(3, axis=-1)

            def by_predictor(rgb: np.ndarray = rgb) -> None:
                predictor.set_image(rgb)
                for x, y, r in PLACES:
                    box = np.array([y - r, x - r, y + r, x + r])
                    predictor.predict(box=box, multimask_output=False)

            took["bare_trunk"].append(once(partial(network.features, picture[None].to(DEVICE))))
            took["predictor"].append(once(by_predictor))

    sampled = np.linspace(0, slices - 1, min(SAMPLED, slices // 3)).round().astype(int).tolist()
    found: list[Any] = []
    ours: dict[str, float] = {}
    engines: dict[str, Precision | None] = {"ours": None}
    if DEVICE.type == "cpu":
        engines |= {"ours, OpenVINO": "float32", "ours, OpenVINO in bfloat16": "bfloat16"}
    with torch.no_grad(), tempfile.TemporaryDirectory() as graphs:
        others(sampled[::2])
        for title, precision in engines.items():
            if precision is not None:
                with_engine(network, "openvino", graphs, precision)
                network.features(torch.zeros(1, 3, backbone.image_size, backbone.image_size))
            ours[title] = once(lambda: inferer(pixels, network, [prompts], found))
        network.engine = None
        ours["ours, by names"] = once(lambda: inferer(pixels, network, [by_name], found))
        others(sampled[1::2])
    took_all = {what: slices * median(times) for what, times in took.items()} | ours
    return {
        "slices": slices,
        "weights": network.base_sha256,
        "masks": sum(len(masks) for masks in found[0].masks.values()),
        "masks, by names": sum(len(masks) for masks in found[-1].masks.values()),
        "seconds": took_all,
        "ratios": {
            f"{what}_over_bare_trunk": time / took_all["bare_trunk"]
            for what, time in took_all.items()
            if what != "bare_trunk"
        },
    }


def show_what_is_asked(network: Any) -> None:
    """Let seeded weights, which find nothing, show an ellipse in each box; all else stays.

    A propagation that finds nothing ends at its first slice, and would cost nothing.
    """
    decode, side = network.decode, network.prompt_encoder.input_image_size[0]

    def decoded(
        embedding: Tensor, boxes: Any, *given: Any, names: Any = None
    ) -> tuple[Tensor, Tensor]:
        logits, iou = decode(embedding, boxes, *given, names=names)
        if names is not None:
            boxes = map(network.named_prompts.boxes, names, boxes)
        left, top, right, bottom = torch.cat([*boxes]).to(logits).T[..., None, None]
        places = (torch.arange(logits.shape[-1]).to(logits) + 0.5) * side / logits.shape[-1]
        x = (2 * places - left - right) / (right - left)
        y = (2 * places[:, None] - top - bottom) / (bottom - top)
        shown = 10 * (1 - x**2 - y**2)[:, None]
        return shown, torch.ones_like(iou)

    network.decode = decoded


def scene(slices: int) -> tuple[MetaTensor, list[dict[str, Any]]]:
    """Return a volume of four bright organs, 1x1xXxYxZ, 0..255, and a 3-D box of each.

    The first is on all slices; each becomes a third smaller towards its ends.
    """
    x, y, z = np.ogrid[:512, :512, :slices]
    values = np.random.default_rng(0).normal(90, 12, (512, 512, slices))
    prompts = []
    for value, (organ, (row, column, r)) in enumerate(zip(ORGANS, PLACES, strict=True)):
        middle = slices // 2
        depth = int(slices * (0.5 - 0.05 * value))
        radius = r * (1 - abs(z - middle) / depth / 3)
        inside = ((x - row) ** 2 + (y - column) ** 2 < radius**2) & (abs(z - middle) <= depth)
        values[inside] += 40 + 10 * value
        low, high = middle - depth, middle + depth
        box = [row - r, column - r, low, row + r, column + r, high]
        prompts.append({"label": organ, "box": box})
    pixels = torch.from_numpy(values.clip(0, 255)).float()[None, None]
    meta = {"filename_or_obj": "synthetic"}
    return MetaTensor(
        pixels, affine=torch.diag(torch.tensor([0.8, 0.8, 2.5, 1.0])), meta=meta
    ), prompts
