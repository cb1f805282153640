"""Many scenarios from one trunk pass."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from samparser_monai import methods
from samparser_monai.sam import architecture, backbone_named
from samparser_monai.studies.benchmarks.timing import DEVICE, seconds
from samparser_monai.tuned.part import save_tuned
from samparser_monai.tuned.swap import Scenarios


def swap(name: str) -> dict[str, Any]:
    """Time the answers of 1 to 8 scenarios, two boxes each, over one trunk pass."""
    base, side = architecture(name).to(DEVICE), backbone_named(name).image_size
    network = architecture(name)
    methods.coefficients(network)
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
