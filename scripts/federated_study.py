"""Each site alone, federated, pooled: on the synthetic hospital that nobody trained on.

    python scripts/federated_study.py FOLDER [--seeds 3] [--decoder frozen] [--set KEY=VALUE ...]

The rounds are those of a federation, made in one process: a site's round and the average are the
same functions that NVIDIA FLARE calls. A seed is a line of results/federated/runs.jsonl.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from federated import ROOT, key_value
from federated_sites import SCANNERS, make_site

from samparser_monai.federated.site import Site
from samparser_monai.federated.updates import average
from samparser_monai.harness import read_runs, write_run

SITES = [name for name in SCANNERS if name != "unseen"]
MOST_CASES = 1000
RESULTS = ROOT / "results" / "federated"


def datalist(folder: Path, sites: list[str], cases: int) -> str:
    """Write which volumes train, and that the unseen site judges; return the file."""
    for number, (name, scanner) in enumerate(SCANNERS.items()):
        if not (folder / name).exists():
            make_site(folder / name, scanner, cases, 100 * number)

    def items(names: list[str]) -> list[dict[str, str]]:
        return [
            {"image": f"{name}/images/{path.name}", "label": f"{name}/labels/{path.name}"}
            for name in names
            for path in sorted((folder / name / "images").iterdir())
        ]

    path = folder / f"{'+'.join(sites)}.json"
    path.write_text(json.dumps({"training": items(sites), "validation": items(["unseen"])}))
    return str(path)


def judged(site: Site, tensors: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the DSC in percent of a tuned part on the unseen site: of each organ, and the mean."""
    own = dict(site.network.named_parameters())
    for name, tensor in tensors.items():
        own[name].data.copy_(own[name].new_tensor(tensor))
    site.parsed("validate#fill")
    evaluator = site.parsed("validate#evaluator")
    evaluator.run()
    return {"mean": round(float(evaluator.state.metrics["dsc"]), 3)}


def study(folder: Path, seed: int, rounds: int, cases: int, keys: dict[str, Any]) -> dict[str, Any]:
    """Return one seed's result."""
    sites = {}
    for names in [[name] for name in SITES] + [SITES]:
        settings = {
            "bundle_root": str(ROOT),
            "dataset_dir": datalist(folder, names, cases),
            "validate#handlers": [],
            "seed": seed,
            **keys,
        }
        sites["pooled" if len(names) > 1 else names[0]] = Site(names[0], settings, 1, rounds)
    judge = sites["pooled"]
    start = judge.tuned()
    found = {"published": judged(judge, start)}
    for name, site in sites.items():
        now = start
        for number in range(rounds):
            steps = site.train(now, number).steps
            now = {key: now[key] + steps[key] for key in now}
        found[name if name == "pooled" else f"{name} alone"] = judged(judge, now)
    now, seconds = start, []
    for number in range(rounds):
        begun = time.monotonic()
        updates = [sites[name].train(now, number) for name in SITES]
        seconds.append(time.monotonic() - begun)
        mean = average(updates, now, MOST_CASES)
        now = {key: now[key] + mean[key] for key in now}
    found["federated"] = judged(judge, now)
    return {
        "seed": seed,
        "rounds": rounds,
        "cases": cases,
        "backbone": judge.network.backbone,
        "decoder": judge.parsed("decoder"),
        "numbers": sum(tensor.size for tensor in now.values()),
        "site_seconds": round(sum(seconds) / len(seconds) / len(SITES), 2),
        "largest_step": round(max(float(np.abs(t).max()) for t in now.values()), 3),
        "unseen": found,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--decoder", default="frozen")
    parser.add_argument("--set", nargs="*", type=key_value, default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        cell = f"{args.decoder}_seed={seed}"
        if cell not in read_runs(RESULTS):
            keys = {"decoder": args.decoder, **dict(args.set)}
            run = study(args.folder.resolve(), seed, args.rounds, args.cases, keys)
            write_run(RESULTS, cell, run)
