"""The cost of 1, 10 and 100 volumes by the shipped training: cut, cached, trained on once."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from samparser_monai.monai_command import command, finished


def scaling(name: str) -> dict[str, Any]:
    """Measure time, disk and peak memory of one epoch over synthetic volumes of 16 slices."""
    rows = []
    for count in (1, 10, 100):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            volumes = [_volume(root, n) for n in range(count + 1)]
            data = {"training": volumes[:-1], "validation": volumes[-1:]}
            (root / "data.json").write_text(json.dumps(data))
            options = {
                "backbone": name,
                "dataset_dir": root / "data.json",
                "labels": "{'liver': 1}",
                "epochs": 1,
                "val_interval": 1,
                "cache_dir": root / "cache",
                "output_dir": root / "eval",
                "ckpt_dir": root / "models",
            }
            parts = [part for key, value in options.items() for part in (f"--{key}", str(value))]
            begun = time.perf_counter()
            peak = finished(command(["training", *parts]), root / "log.txt")
            taken = time.perf_counter() - begun
            disk = sum(p.stat().st_size for p in (root / "cache").rglob("*") if p.is_file())
        rows.append(
            {"volumes": count, "slices": 16 * count, "seconds": taken}
            | {"disk_mb": disk / 1e6, "peak_memory_gb": peak}
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
