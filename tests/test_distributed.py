"""Several processes: the same training as one with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from closeness import assert_trained_alike
from conftest import ROOT, read_json, run

from samparser_monai.methods import coefficients
from samparser_monai.sam import build


def test_two_processes_train_like_one(dataset: Path, overrides: dict, tmp_path: Path) -> None:
    options = overrides | {"dataset_dir": str(dataset)}
    one, two = (
        {**options, "bundle_root": str(tmp_path / n), "cache_dir": str(tmp_path / n / "cache")}
        for n in ("one", "two")
    )
    run("train", "train", run_id="training", **one, batch_size=2)
    files = [str(ROOT / "configs" / f"{name}.json") for name in ("train", "multi_gpu_train")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    command += [part for key, value in two.items() for part in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)

    one, two = (
        torch.load(tmp_path / n / "models" / "checkpoint_epoch=2.pt", weights_only=True)["network"]
        for n in ("one", "two")
    )
    # gradients are summed in another order
    assert_trained_alike(one, two, coefficients(build("tiny")).state_dict(), share=1e-3)
    assert all((tmp_path / n / "models" / "model.pt").exists() for n in ("one", "two"))
    one, two = (read_json(tmp_path / n / "eval" / "training.json") for n in ("one", "two"))
    assert one["steps"] == two["steps"] == 12
    # some pixels at the threshold
    assert one["epochs"][-1]["dsc"] == pytest.approx(two["epochs"][-1]["dsc"], rel=1e-2)
    entries = [
        sorted(p.name for p in (tmp_path / n / "cache" / "features").glob("*/*.safetensors"))
        for n in ("one", "two")
    ]
    assert entries[0] == entries[1] and len(entries[0]) == 18
