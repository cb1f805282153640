"""Small synthetic CT in the layouts that people have, and the commands as people type them."""

import json
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parent.parent
LABELS = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}

os.environ["CUDA_VISIBLE_DEVICES"] = ""
torch.set_num_threads(1)  # tests run side by side


def ct(seed: int, shape: tuple[int, int, int] = (48, 40, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT volume and its labels, in voxels of a NIfTI file: a liver and two kidneys."""
    random = np.random.default_rng(seed)
    x, y, _ = np.indices(shape)
    label = np.zeros(shape, np.uint8)
    label[(x - 14) ** 2 + (y - 22) ** 2 < 90 + 10 * random.random()] = 1
    for centre in (30, 42):
        label[(abs(x - centre) < 4) & (abs(y - 12) < 5)] = 2
    image = np.where(label > 0, 60.0 + 30 * label, -50.0) + random.normal(0, 8, shape)
    return image.astype(np.int16), label


AFFINES = {
    "LPS": np.diag([-0.8, -0.8, 3.0, 1.0]),
    "RAS": np.diag([0.8, 0.8, 3.0, 1.0]),
}


def save_volume(path: Path, values: np.ndarray, affine: np.ndarray = AFFINES["LPS"]) -> Path:
    """Write a NIfTI file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def make_dataset(
    root: Path, cases: int = 3, images: str = "images", labels: str = "labels"
) -> Path:
    """Write a data set of paired folders and return its root."""
    for n in range(cases):
        image, label = ct(n)
        save_volume(root / images / f"case_{n}.nii.gz", image)
        save_volume(root / labels / f"case_{n}.nii.gz", label)
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "ct")


SMALL = {
    "backbone": "tiny",
    "min_area": 20,
    "min_volume": 100,
    "epochs": 2,
    "val_interval": 1,
    "coefficient_rate": 0.01,
    "decoder_rate": 1e-3,
}


@pytest.fixture
def overrides(tmp_path: Path) -> dict:
    """What makes a shipped config run in a second."""
    return {
        "bundle_root": str(tmp_path),
        "cache_dir": str(tmp_path / "cache"),
        **SMALL,
    }


def workflow(kind: str, *names: str, **overrides: object) -> ConfigWorkflow:
    """Return the workflow of some shipped configs."""
    return ConfigWorkflow(
        config_file=[str(ROOT / "configs" / f"{name}.json") for name in names],
        meta_file=str(ROOT / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        **overrides,
    )


def run(kind: str, *names: str, run_id: str, **overrides: object) -> ConfigWorkflow:
    """Run some shipped configs as `python -m monai.bundle run` does."""
    flow = workflow(kind, *names, **overrides)
    flow.run_id = run_id
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def started(target: Callable, *arguments: object, **options: object) -> BaseProcess:
    """Run a function in a process of its own, forked from one that has imported everything."""
    context = get_context("forkserver")
    context.set_forkserver_preload(
        [
            "monai.bundle",
            "samparser_monai.training.report",
            "samparser_monai.pictures",
            "samparser_monai.volumes",
        ]
    )
    process = context.Process(target=target, args=arguments, kwargs=options)
    process.start()
    return process


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@torch.no_grad()
def move(network: torch.nn.Module, by: float = 0.05, seed: int = 2) -> None:
    """Change all that is tuned, as a training would."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter += by * torch.randn(parameter.shape, generator=generator)
