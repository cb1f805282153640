"""Several processes: the same training as one with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL, read_json

from samparser_monai.features import FeatureCache


def train(folder: Path, dataset: Path, processes: int, **options: object) -> None:
    options = {
        **SMALL,
        "bundle_root": folder,
        "cache_dir": folder / "cache",
        "dataset_dir": dataset,
        **options,
    }
    configs = ["train", "multi_gpu_train"] if processes > 1 else ["train"]
    files = [str(ROOT / "configs" / f"{name}.json") for name in configs]
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    command += ["monai.bundle", "run", "training", "--config_file", str(files)]
    command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def test_two_processes_train_like_one(dataset: Path, tmp_path: Path) -> None:
    train(tmp_path / "one", dataset, 1, batch_size=2)
    train(tmp_path / "two", dataset, 2)
    for name in ("model.pt", "checkpoint_epoch=2.pt"):
        one, two = (
            torch.load(tmp_path / n / "models" / name, weights_only=True) for n in ("one", "two")
        )
        one, two = one.get("network", one), two.get("network", two)
        assert one.keys() == two.keys()
        for key in one:  # gradients are summed in another order
            torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-5)
    one, two = (read_json(tmp_path / n / "eval" / "training.json") for n in ("one", "two"))
    assert one["steps"] == two["steps"] == 12
    assert one["epochs"][-1]["dsc"] == pytest.approx(two["epochs"][-1]["dsc"], abs=0.1)
    entries = [
        sorted(p.name for p in FeatureCache(tmp_path / n / "cache" / "features").folder.glob("*/*"))
        for n in ("one", "two")
    ]
    assert entries[0] == entries[1] and len(entries[0]) == 18
