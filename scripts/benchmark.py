"""Speeds, each a ratio measured side by side in one run on an otherwise idle machine.

    python scripts/benchmark.py training|inference|encoder|scaling|swap|start|volume|filling
        [--backbone NAME] [--json FILE]

Weights are seeded, not published: a speed does not depend on their values. `encoder` takes the
published ones where they are at hand, because it compares masks too.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from benchmarks.encoder import encoder
from benchmarks.filling import filling
from benchmarks.inference import inference
from benchmarks.scaling import scaling
from benchmarks.start import start
from benchmarks.swap import swap
from benchmarks.timing import DEVICE
from benchmarks.training import training
from benchmarks.volume import volume

from samparser_monai.files import read_json, write_json

KINDS = {
    f.__name__: f for f in (training, inference, encoder, scaling, swap, start, volume, filling)
}


def main() -> None:
    """Measure what is asked for and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    about = {"kind": arguments.kind, "backbone": arguments.backbone}
    if arguments.json and arguments.json.exists():
        before = read_json(arguments.json)
        if not isinstance(before, dict) or {k: before.get(k) for k in about} != about:
            parser.error(f"--json {arguments.json} is no measurement of {about}: name another")
    card = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor()
    result = {
        **about,
        "device": card or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": version("torch"),
        **KINDS[arguments.kind](arguments.backbone),
    }
    print(json.dumps(result, indent=4))
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
