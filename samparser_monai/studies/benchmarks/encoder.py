"""The image encoder in its variants."""

import copy
import tempfile
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import architecture, backbone_named, build
from samparser_monai.sam.engines import with_engine
from samparser_monai.sam.fused import FUSED
from samparser_monai.studies.benchmarks.timing import DEVICE, seconds
from samparser_monai.training.transforms import IntoFramed

SAMS_OWN = {fast: own for own, fast in FUSED.items()}


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
        module.__class__ = SAMS_OWN.get(type(module), type(module))
    published.memory_format = torch.contiguous_format  # of TinyViT
    variants = {
        "as published": (published, torch.float32),
        "fused": (plain, torch.float32),
        "bfloat16": (plain, torch.bfloat16),
    }
    graphs = tempfile.TemporaryDirectory()
    if DEVICE.type == "cpu":
        other: Any = methods.decoder_only(copy.deepcopy(network))
        with_engine(other, "openvino", graphs.name)
        variants["OpenVINO"] = (other.features, torch.float32)
        variants["OpenVINO, bfloat16"] = (other.features, torch.bfloat16)
        variants["compiled"] = (torch.compile(plain), torch.float32)
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
                time_ = seconds(partial(module, images), repeats=5)
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
