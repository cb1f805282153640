"""A synthetic CT of 512 x 512 with four organs, and the shipped training on it."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from samparser_monai.sam import SamNetwork
from samparser_monai.shipped import shipped
from samparser_monai.studies.benchmarks.timing import DEVICE


def write_ct(root: Path, slices: int) -> Path:
    """Write a volume to train on and one to validate on, and return their datalist."""
    random = np.random.default_rng(0)
    x, y, z = np.ogrid[:512, :512, :slices]
    entries = {}
    for section, depth in (("training", slices), ("validation", 4)):
        label = np.zeros((512, 512, depth), np.uint8)
        for value, (row, column, radius) in enumerate(
            ((200, 160, 90), (300, 330, 40), (180, 380, 50), (260, 260, 30)), start=1
        ):
            wave = 3 * np.sin(z[:, :, :depth] / 5)
            label[(x - row) ** 2 + (y - column) ** 2 < (radius + wave) ** 2] = value
        image = np.where(label, 40 * label, -60) + random.normal(0, 20, label.shape)
        paths = {k: str(root / f"{section}_{slices}_{k}.nii.gz") for k in ("image", "label")}
        affine = np.diag([-0.8, -0.8, 2.5, 1.0])
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), paths["image"])
        nib.save(nib.Nifti1Image(label, affine), paths["label"])
        entries[section] = [paths]
    path = root / f"data_{slices}.json"
    path.write_text(json.dumps(entries))
    return path


def training_of(backbone: str, data: Path, **options: Any) -> ConfigParser:
    """Return the shipped configuration of a training with seeded weights."""
    parser = ConfigParser()
    parser.read_config(str(shipped("configs") / "train.json"))
    parser.update(
        {
            "backbone": backbone,
            "sam": {"_target_": "samparser_monai.sam.architecture", "backbone": backbone},
            "dataset_dir": str(data),
            "bundle_root": str(data.parent),
            "cache_dir": str(data.parent / "cache"),
            **options,
        }
    )
    return parser


def without_trunk(network: SamNetwork) -> None:
    """Let a network's frozen prefix be noise, which costs nothing."""
    noise = torch.randn(1, 256, 64, 64, device=DEVICE)

    def features(image: Tensor) -> Tensor:
        return noise.expand(len(image), -1, -1, -1)

    network.features = features  # type: ignore[method-assign]
