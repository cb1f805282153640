"""Speeds, each a ratio measured side by side in one run on an otherwise idle machine.

    python scripts/benchmark.py training|inference|encoder|scaling|swap
        [--backbone NAME] [--json FILE]

Weights are seeded, not published: a speed does not depend on their values. `encoder` takes the
published ones where they are at hand, because it compares masks too.
"""

import argparse
import copy
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention
from tqdm import tqdm

from samparser_monai import methods
from samparser_monai.data import SliceDataset
from samparser_monai.data.transforms import IntoFramed
from samparser_monai.errors import InputError
from samparser_monai.features import FeatureCache
from samparser_monai.losses import BoxPromptLoss
from samparser_monai.sam import SamNetwork, architecture, backbone_named, build
from samparser_monai.swap import Scenarios
from samparser_monai.tuned import save_tuned
from samparser_monai.volume import VolumeInferer

ROWS = (  # method, whether its features are cached, repeats
    ("coefficients", True, 9),
    ("decoder_only", True, 9),
    ("coefficients", False, 2),
    ("decoder_only", False, 2),
    ("lora", False, 2),
    ("adapter", False, 2),
    ("fact", False, 2),
    ("full", False, 2),
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median time of some calls, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def step_of(network: SamNetwork, cached: bool, boxes: int) -> Callable[[], None]:
    """Return one training step of one image with some boxes."""
    backbone = backbone_named(network.backbone)
    side = backbone.image_size
    image = torch.randn(1, 3, side, side, device=DEVICE)
    prompts = [torch.tensor([[0.1, 0.1, 0.5, 0.6]]).repeat(boxes, 1) * side]
    label = torch.rand(boxes, 1, backbone.mask_size, backbone.mask_size, device=DEVICE).round()
    features = network.features(image) if cached else None
    optimizer = torch.optim.Adam(methods.parameter_groups(network, 0.03, 1e-5), fused=True)
    loss = BoxPromptLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(network(image, prompts, features), label).backward()
        optimizer.step()

    return step


def training(name: str) -> dict[str, Any]:
    """Time a step of each method, with and without cached features."""
    rows = []
    for method, cached, repeats in tqdm(ROWS, desc=f"training {name}"):
        network = getattr(methods, method)(architecture(name)).to(DEVICE).train()
        for boxes in (1, 4) if cached else (1,):
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            time_ = seconds(step_of(network, cached, boxes), repeats)
            row = {"method": method, "cached": cached, "boxes": boxes, "seconds_a_step": time_}
            if DEVICE.type == "cuda":
                row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            rows.append(row)
        del network
    of = {(r["method"], r["cached"], r["boxes"]): r["seconds_a_step"] for r in rows}
    ours, uncached = of["coefficients", True, 1], of["coefficients", False, 1]
    fill = fill_seconds(name)
    ratios = {"cached_speedup": uncached / ours}
    ratios |= {f"vs_{m}": of[m, False, 1] / ours for m in ("lora", "adapter", "fact")}
    ratios |= {
        f"vs_decoder_only_{n}box": of["coefficients", True, n] / of["decoder_only", True, n]
        for n in (1, 4)
    }
    # 25 epochs of the same images; filling is paid once
    ratios["end_to_end"] = 25 * uncached / (fill + 25 * ours)
    return {"rows": rows, "fill_seconds_an_image": fill, "ratios": ratios}


def fill_seconds(name: str) -> float:
    """Return the time to compute and store one image's features."""
    network = methods.coefficients(architecture(name)).to(DEVICE)
    side = backbone_named(name).image_size
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder))
        count = iter(range(100))

        def fill() -> None:
            image = torch.randn(1, 3, side, side, device=DEVICE)
            cache.write(f"{next(count):040d}", network.features(image)[0])

        return seconds(fill, 3)


def inference(name: str) -> dict[str, Any]:
    """Time slices of a CT volume with 4 organs: the bare encoder, stock SamPredictor, and ours.

    The predictor is used as MedSAM's users do: an organ at a time, slice by slice.
    """
    backbone, slices = backbone_named(name), 4
    network = methods.coefficients(architecture(name)).to(DEVICE)
    organs = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
    volume = MetaTensor(torch.rand(1, 1, 512, 512, slices) * 255, affine=torch.eye(4))
    volume.meta["filename_or_obj"] = "synthetic"
    prompts = [{"label": organ, "box": [60, 60, 0, 200, 200, slices - 1]} for organ in organs]
    inferer = VolumeInferer(backbone, organs, plane="axial")
    frame = IntoFramed(backbone.image_size, backbone.mask_size, backbone.mean, backbone.std)
    pictures = [frame({"image": volume[0, :, :, :, k].expand(3, -1, -1)}) for k in range(slices)]
    network.image_encoder.img_size = backbone.image_size  # what the predictor asks for
    stock = Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder)
    predictor = SamPredictor(stock.to(DEVICE))
    rgb = volume[0, 0].numpy().astype(np.uint8)[..., None].repeat(3, axis=-1)

    def by_predictor() -> None:
        for _ in organs:
            for k in range(slices):
                predictor.set_image(rgb[:, :, k])
                predictor.predict(box=np.array([60, 60, 200, 200]), multimask_output=False)

    works = {
        "bare_encoder": lambda: [
            network.image_encoder(p["image"][None].to(DEVICE)) for p in pictures
        ],
        "predictor": by_predictor,
        "ours": lambda: inferer(volume, network, [prompts]),
    }
    with torch.no_grad():
        # in turn, so that what else the machine does falls on all of them
        rounds = [{what: seconds(work, 1) for what, work in works.items()} for _ in range(3)]
    took = {what: statistics.median(r[what] for r in rounds) for what in works}
    return {
        "images_a_second": {what: slices / time_ for what, time_ in took.items()},
        "ratios": {
            "predictor_over_ours": took["predictor"] / took["ours"],
            "overhead": took["ours"] / took["bare_encoder"] - 1,
            "predictor_over_ours_in_each_round": [r["predictor"] / r["ours"] for r in rounds],
        },
    }


def encoder(name: str) -> dict[str, Any]:
    """Time the image encoder in its variants, and compare their masks with plain float32."""
    try:
        network = build(name)
    except InputError:
        network = architecture(name)
    network = network.to(DEVICE)
    backbone = backbone_named(name)
    down, right = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    disc = ((down - 270) ** 2 + (right - 230) ** 2 < 130**2) * 120.0 + 60
    noise = torch.randn(3, 512, 512, generator=torch.Generator().manual_seed(0))
    frame = IntoFramed(backbone.image_size, backbone.mask_size, backbone.mean, backbone.std)
    picture = frame({"image": disc + 10 * noise})["image"][None].to(DEVICE)
    boxes = [torch.tensor([[100.0, 140, 360, 400]]) * backbone.image_size / 512]
    plain = network.image_encoder
    published = copy.deepcopy(plain)
    for module in published.modules():
        if isinstance(module, Attention):  # SAM's own, with a matrix of all pairs of positions
            module.__class__ = Attention
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    variants = {
        "as published": (published, torch.float32),
        "fused attention": (plain, torch.float32),
        "channels last": (last, torch.float32),
        "bfloat16": (plain, torch.bfloat16),
    }
    if DEVICE.type == "cuda":
        variants["bfloat16, compiled"] = (torch.compile(plain), torch.bfloat16)
    rows = []
    for batch in (1, 32) if DEVICE.type == "cuda" else (1,):
        images = picture.expand(batch, -1, -1, -1).contiguous()
        wanted = None
        for title, (module, dtype) in tqdm(variants.items(), f"encoder {name}, batch {batch}"):
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            with torch.inference_mode(), torch.autocast(DEVICE.type, dtype, dtype != torch.float32):
                time_ = seconds(lambda m=module, i=images: m(i), repeats=5)
                embedding = module(images)[:1].float()
            with torch.inference_mode():
                mask = network.decode(embedding, boxes)[0] > 0
            wanted = mask if wanted is None else wanted
            iou = (mask & wanted).sum() / (mask | wanted).sum()
            row = {"variant": title, "batch": batch, "images_a_second": batch / time_}
            if DEVICE.type == "cuda":
                row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            rows.append({**row, "iou_with_published": float(iou)})
    return {"weights": network.base_sha256, "rows": rows}


def scaling(name: str) -> dict[str, Any]:
    """Measure time, disk and memory of preparing 1, 10 and 100 synthetic volumes."""
    rows = []
    for count in (1, 10, 100):
        with tempfile.TemporaryDirectory() as root:
            data = [_volume(Path(root), n) for n in range(count)]
            begun = time.perf_counter()
            dataset = SliceDataset(data, labels={"liver": 1}, cache_dir=root)
            taken = time.perf_counter() - begun
            size = sum(p.stat().st_size for p in Path(root, "slices").rglob("*.npz"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows.append(
            {"volumes": count, "slices": len(dataset), "seconds": taken}
            | {"disk_mb": size / 1e6, "peak_memory_gb": peak}
        )
    return {"rows": rows}


def _volume(root: Path, number: int) -> dict[str, str]:
    label = np.zeros((256, 256, 20), np.uint8)
    label[80:160, 80:160, 2:18] = 1
    noise = np.random.default_rng(number).normal(0, 20, label.shape)
    paths = {k: str(root / f"{number}_{k}.nii.gz") for k in ("image", "label")}
    nib.save(nib.Nifti1Image((noise + 60 * label).astype(np.int16), np.eye(4)), paths["image"])
    nib.save(nib.Nifti1Image(label, np.eye(4)), paths["label"])
    return {**paths, "case": str(number)}


def swap(name: str) -> dict[str, Any]:
    """Time the answers of 1 to 8 scenarios, two boxes each, over one trunk pass."""
    base, side = architecture(name).to(DEVICE), backbone_named(name).image_size
    network = methods.coefficients(architecture(name))
    image = torch.randn(1, 3, side, side, device=DEVICE)
    boxes = [torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.4, 0.9, 0.8]]) * side]
    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        part = Path(folder, "tuned.safetensors")
        save_tuned(part, network, {}, network.state_dict())
        scenarios = Scenarios(base, {str(n): part for n in range(8)}).to(DEVICE)
        for count in (1, 2, 4, 8):

            def answer(names: list[str] = scenarios.names[:count]) -> None:
                features = scenarios.features(image)
                for one in names:
                    scenarios(one, features, boxes)

            rows.append({"scenarios": count, "seconds": seconds(answer, 3)})
    first, last = rows[0]["seconds"], rows[-1]["seconds"]
    return {"rows": rows, "ratios": {"further_scenario": (last - first) / 7 / first}}


def main() -> None:
    """Measure what is asked for and print it as JSON."""
    kinds = {f.__name__: f for f in (training, inference, encoder, scaling, swap)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    card = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor()
    result = {
        "kind": arguments.kind,
        "backbone": arguments.backbone,
        "device": card or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        **kinds[arguments.kind](arguments.backbone),
    }
    text = json.dumps(result, indent=4)
    print(text)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
