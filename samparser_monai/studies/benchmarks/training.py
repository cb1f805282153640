"""A training step of each method, with and without cached features."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from samparser_monai import methods
from samparser_monai.sam import SamNetwork, architecture, backbone_named
from samparser_monai.studies.benchmarks.timing import DEVICE, seconds
from samparser_monai.training.features import FeatureCache
from samparser_monai.training.losses import BoxPromptLoss

METHODS = (
    "coefficients",
    "decoder_only",
    "bases",
    "bases_and_coefficients",
    "lora_xs",
    "svft",
    "s_sam",
    "late_lora",
    "salt",
    "lora",
    "coefficients_lora",
    "adapter",
    "fact",
    "full",
)
OTHERS = ("lora", "adapter", "fact")


class Step:
    """One training step of one image with some boxes."""

    def __init__(self, network: SamNetwork, cached: bool, boxes: int) -> None:
        backbone = backbone_named(network.backbone)
        side, small = backbone.image_size, backbone.mask_size
        self.network = network
        self.image = torch.randn(1, 3, side, side, device=DEVICE)
        self.prompts = [torch.tensor([[0.1, 0.1, 0.5, 0.6]]).repeat(boxes, 1) * side]
        self.label = torch.rand(boxes, 1, small, small, device=DEVICE).round()
        self.features = network.features(self.image) if cached else None
        groups = methods.parameter_groups(network, 0.03, 1e-5)
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.loss = BoxPromptLoss()

    def __call__(self) -> None:
        """Take the step."""
        self.optimizer.zero_grad()
        self.loss(self.network(self.image, self.prompts, self.features), self.label).backward()
        self.optimizer.step()


def training(name: str) -> dict[str, Any]:
    """Time a step of each method, with and without cached features."""
    rows: list[dict[str, Any]] = []
    for method in tqdm(METHODS, desc=f"training {name}"):
        network = getattr(methods, method)(architecture(name)).to(DEVICE).train()
        for cached, boxes in ((True, 1), (True, 4), (False, 1)):
            if cached and network.split is None:
                continue
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            time_ = seconds(Step(network, cached, boxes), 9 if cached else 2)
            row = {"method": method, "cached": cached, "boxes": boxes, "seconds_a_step": time_}
            if DEVICE.type == "cuda":
                row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            rows.append(row)
        del network
    of = {(r["method"], r["cached"], r["boxes"]): r["seconds_a_step"] for r in rows}
    ours, uncached = of["coefficients", True, 1], of["coefficients", False, 1]
    fill = fill_seconds(name)
    ratios = {"cached_speedup": uncached / ours}
    best = {m: of.get((m, True, 1), of[m, False, 1]) for m in OTHERS}  # by its cache if it has one
    ratios |= {f"vs_{m}": time_ / ours for m, time_ in best.items()}
    ratios |= {
        f"vs_decoder_only_{n}box": of["coefficients", True, n] / of["decoder_only", True, n]
        for n in (1, 4)
    }
    # 25 epochs of the same images; filling is paid once
    ratios["end_to_end"] = 25 * uncached / (fill + 25 * ours)
    return {"rows": rows, "fill_seconds_an_image": fill, "ratios": ratios}


def fill_seconds(name: str) -> float:
    """Return the time to compute and store one image's features."""
    network = architecture(name).to(DEVICE)
    methods.coefficients(network)
    side = backbone_named(name).image_size
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder))
        count = iter(range(100))

        def fill() -> None:
            image = torch.randn(1, 3, side, side, device=DEVICE)
            cache.write(f"{next(count):040d}", network.features(image)[0])

        return seconds(fill, 3)
