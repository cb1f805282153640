"""Speeds, each a ratio measured side by side in one run on an otherwise idle machine."""

from collections.abc import Callable
from typing import Any

from samparser_monai.studies.benchmarks.encoder import encoder
from samparser_monai.studies.benchmarks.filling import filling
from samparser_monai.studies.benchmarks.inference import inference
from samparser_monai.studies.benchmarks.scaling import scaling
from samparser_monai.studies.benchmarks.start import start
from samparser_monai.studies.benchmarks.step import step
from samparser_monai.studies.benchmarks.swap import swap
from samparser_monai.studies.benchmarks.training import training
from samparser_monai.studies.benchmarks.volume import volume

KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    f.__name__: f
    for f in (training, inference, encoder, scaling, swap, start, step, volume, filling)
}
