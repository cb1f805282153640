"""A training's start on a full cache, and what a cached step costs outside the network."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.sam.engines import prefix_hash
from samparser_monai.studies.benchmarks.slices import training_of, without_trunk, write_ct
from samparser_monai.studies.benchmarks.timing import once

COUNTS = (25, 125)


def start(name: str) -> dict[str, Any]:
    """Time the shipped training from its configuration to its first batch, twice.

    The slices are 512 x 512, with four organs. No trunk runs: their features are noise.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            data = write_ct(Path(folder), count)

            def begun(data: Path = data) -> Iterator[Any]:
                parser = training_of(name, data)
                without_trunk(parser.get_parsed_content("network"))
                parser.get_parsed_content("train#fill")
                batches = iter(parser.get_parsed_content("train#dataloader"))
                next(batches)
                return batches

            row = {"pictures": count, "first_start_seconds": once(begun)}
            row["second_start_seconds"] = once(begun)
            taken, batches = [], begun()
            for _ in range(count - 1):
                before = time.process_time()
                next(batches)
                taken.append(time.process_time() - before)
            rows.append({**row, "step_outside_the_network_ms": 1000 * float(np.median(taken))})
        network = training_of(name, data).get_parsed_content("network")
    few, many = rows
    slower = many["second_start_seconds"] - few["second_start_seconds"]
    return {
        "rows": rows,
        "ratios": {
            "prefix_hash_seconds": once(lambda: prefix_hash(network)),
            "second_start_ms_a_picture": 1000 * slower / (COUNTS[1] - COUNTS[0]),
            "first_start_over_second": many["first_start_seconds"] / many["second_start_seconds"],
        },
    }
