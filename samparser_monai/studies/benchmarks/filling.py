"""The first pass over data: from a slice's file to the network's input and targets."""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samparser_monai.studies.benchmarks.slices import training_of, without_trunk, write_ct
from samparser_monai.studies.benchmarks.timing import once

SLICES = 60


def filling(name: str) -> dict[str, Any]:
    """Time filling an empty cache without a trunk, by the number of the loader's workers."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_ct(Path(folder), SLICES)
        dataset = training_of(name, data).get_parsed_content("train#dataset")
        taken = []
        for n in range(SLICES):
            before = time.process_time()
            dataset[n]
            taken.append(time.process_time() - before)
        for workers in (0, 1, 2):
            cache = Path(folder, f"cache_{workers}")
            parser = training_of(name, data, num_workers=workers)
            parser["features"]["folder"] = str(cache)
            without_trunk(parser.get_parsed_content("network"))
            parser.get_parsed_content("train#dataloader")
            took = once(partial(parser.get_parsed_content, "train#fill"))
            rows.append({"workers": workers, "pictures_a_second": SLICES / took})
    of = {row["workers"]: row["pictures_a_second"] for row in rows}
    return {
        "rows": rows,
        "ratios": {
            "cpu_ms_a_slice": 1000 * float(np.median(taken)),
            "two_workers_over_one": of[2] / of[1],
        },
    }
