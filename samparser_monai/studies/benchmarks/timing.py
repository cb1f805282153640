"""What all benchmarks share: the device, and the median time of some calls."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def once(work: Callable[[], Any]) -> float:
    """Return the time of a call."""
    begun = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median time of some calls, after one to warm up."""
    return statistics.median([once(work) for _ in range(repeats + 1)][1:])
