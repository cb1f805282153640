"""What 10, 100 and 1 000 cases cost: time and memory of each run, and of a cache of many names."""

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from samparser_monai.monai_command import command, finished
from samparser_monai.studies.benchmarks.timing import once
from samparser_monai.training.features import FeatureCache

COUNTS = (10, 100, 1000)
NAMES = (1_000, 10_000, 100_000)
SLICES = 2


def scaling(name: str) -> dict[str, Any]:
    """Measure the shipped runs over synthetic cases of 2 slices, and looks at a cache folder.

    A training cuts the volumes, fills the cache and goes over it once; the second has all of that
    but the epoch done before it. The inference writes a label volume to a case, tables and page;
    resumed, it finds that all is done.
    """
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            cases = [_volume(root, n) for n in range(count + 1)]
            paths = {k: root / f"{k}.json" for k in ("training", "testing")}
            data = {"training": cases[:-1], "validation": cases[-1:]}
            paths["training"].write_text(json.dumps(data))
            box = [{"label": "liver", "box": [20, 20, 0, 70, 70, SLICES - 1]}]
            asked = [{"image": c["image"], "case": c["case"], "prompts": box} for c in cases[:-1]]
            paths["testing"].write_text(json.dumps({"testing": asked}))
            row: dict[str, Any] = {"cases": count}
            for what in ("first training", "second training", "inference", "inference resumed"):
                run = "training" if "training" in what else "inference"
                options: dict[str, Any] = {
                    "backbone": name,
                    "labels": "{'liver': 1}",
                    "dataset_dir": paths["training" if run == "training" else "testing"],
                    "output_dir": root / run,
                    "ckpt_dir": root / "models",
                }
                if run == "training":
                    options |= {"cache_dir": root / "cache", "epochs": 1, "val_interval": 1}
                else:
                    options["resume"] = "resumed" in what
                typed = [part for k, v in options.items() for part in (f"--{k}", str(v))]
                begun = time.perf_counter()
                peak = finished(command([run, *typed]), root / "log.txt")
                row[f"{what}, seconds"] = time.perf_counter() - begun
                row[f"{what}, GB"] = peak
            row["page_mb"] = (root / "inference" / "index.html").stat().st_size / 1e6
        rows.append(row)
    _, some, many = rows
    ratios = {  # 1: each further case costs the same
        f"{what}, {COUNTS[2]} to {COUNTS[1]}": (many[key] - few) / (some[key] - few) / 11
        for what in ("first training", "second training", "inference")
        for key in [f"{what}, seconds"]
        for few in [rows[0][key]]
    }
    return {"rows": rows, "ratios": ratios | _looks()}


def _looks() -> dict[str, float]:
    """Return the seconds of a look at all entries of a cache, by their number."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        made = 0
        for count in NAMES:
            for n in range(made, count):
                path = cache.path(f"{n % 256:02x}{n:038x}")
                path.parent.mkdir(exist_ok=True)
                path.touch()
            made = count
            found[f"look at {count} entries, seconds"] = once(partial(cache.evict, cache.limit))
    return found


def _volume(root: Path, number: int) -> dict[str, str]:
    label = np.zeros((96, 96, SLICES), np.uint8)
    label[25:65, 25:65] = 1
    noise = np.random.default_rng(number).normal(0, 20, label.shape)
    paths = {k: str(root / f"{number}_{k}.nii.gz") for k in ("image", "label")}
    nib.save(nib.Nifti1Image((noise + 60 * label).astype(np.int16), np.eye(4)), paths["image"])
    nib.save(nib.Nifti1Image(label, np.eye(4)), paths["label"])
    return {**paths, "case": str(number)}
