"""The frozen prefix computed by OpenVINO, which is faster than torch on a processor."""

import functools
import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError, unknown, writable
from samparser_monai.sam.network import SamNetwork

Engine = Literal["torch", "openvino"]
Precision = Literal["float32", "bfloat16"]
LARGEST = 1.8e9
"""Bytes of weights in one graph; ONNX allows two gigabytes."""


def with_engine(
    network: Any, engine: Engine, folder: str | Path, precision: Precision = "float32"
) -> Any:
    """Let a network's frozen prefix be computed by an engine, where it runs on a processor.

    Args:
        network: after its method has been applied; one without a prefix stays with torch.
        engine: ``torch``, or ``openvino``: the same to 1e-4 of the features' size.
        folder: of the graphs, which are exported once.
        precision: ``bfloat16`` is faster yet on processors that have it, and no longer the same;
            it is also what autocast asks for.

    Raises:
        InputError: there is no such engine, it is not installed, or the encoder is too large.
    """
    for name, value, known in (
        ("engine", engine, get_args(Engine)),
        ("engine_precision", precision, get_args(Precision)),
    ):
        if value not in known:
            raise unknown(name, value, known)
    if engine == "torch":
        if precision != "float32":
            raise InputError(f"engine_precision={precision!r} needs --engine openvino")
        return network
    if network.split is None:
        return network
    for package in ("onnx", "onnxscript", "openvino"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"engine={engine!r} needs the package {package}: pip install '.[openvino]', or "
                "leave --engine out"
            )
    if (size := sum(p.nbytes for p in network.image_encoder.parameters())) > LARGEST:
        raise InputError(
            f"engine={engine!r} takes encoders of up to {LARGEST / 1e9:.1f} GB, that of "
            f"{network.backbone} has {size / 1e9:.1f}: leave --engine out"
        )
    network.engine = OpenVinoPrefix(writable("cache_dir", folder), precision)
    return network


class OpenVinoPrefix:
    """The frozen prefix of a network as a graph, exported anew when its weights have changed.

    Args:
        folder: of the graphs.
        precision: see with_engine.
    """

    def __init__(self, folder: Path, precision: Precision = "float32") -> None:
        self.folder, self.precision = folder, precision
        self._graphs: dict[str, Any] = {}  # by precision
        self._state: list[tuple[int, int]] = []
        self._turn = threading.Lock()  # a graph answers one at a time

    def __deepcopy__(self, memo: Any) -> Self:
        """Return one for another network: of the same folder, without graphs."""
        return type(self)(self.folder, self.precision)

    def __call__(self, network: SamNetwork, images: Tensor) -> Tensor:
        """Return the features of images Bx3xSxS."""
        tensors = network.image_encoder.state_dict(keep_vars=True).values()
        # what is tuned is not in the prefix; a version grows with each change
        state = [(id(t), t._version) for t in tensors if not t.requires_grad]
        cast = torch.is_autocast_enabled("cpu")
        precision = "bfloat16" if cast else self.precision
        with self._turn:
            if state != self._state:
                self._graphs, self._state = {}, state
            if precision not in self._graphs:
                self._graphs[precision] = self._opened(network, images[:1], precision)
            graph = self._graphs[precision]
            found = [torch.from_numpy(graph(image[None].numpy())[0]) for image in images]
        return torch.cat(found)

    def _opened(self, network: SamNetwork, image: Tensor, precision: str) -> Any:
        name = hashlib.sha256(
            f"{prefix_hash(network)}/{tuple(image.shape)}/{torch.__version__}".encode()
        ).hexdigest()[:40]
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            with (
                tempfile.TemporaryDirectory(dir=self.folder) as temporary,
                torch.autocast("cpu", enabled=False),
            ):
                part = Path(temporary, path.name)
                program = torch.onnx.export(
                    Prefix(network).eval(),
                    (image,),
                    dynamo=True,
                    verbose=False,
                    input_names=["image"],
                )
                assert program is not None
                program.save(part, external_data=False)
                os.replace(part, path)
        # read, not converted by its Python tools: those would send statistics of use
        core = openvino_core()
        return core.compile_model(
            core.read_model(path),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
                "PERFORMANCE_HINT": "LATENCY",
            },
        )


@functools.cache
def openvino_core() -> Any:
    """Return the one that this process has.

    Each gives its thread a stack for signals, and takes it away at its end: of two the thread is
    left with one that is not there, and the next signal, of a child that has ended, ends the
    process.
    """
    import openvino  # optional, and slow to load

    return openvino.Core()


class Prefix(nn.Module):
    """The frozen prefix of a network alone."""

    def __init__(self, network: SamNetwork) -> None:
        super().__init__()
        assert network.split is not None
        self.encoder, self.prefix = network.image_encoder, network.split.prefix

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of an image."""
        return self.prefix(self.encoder, image)


def prefix_hash(network: SamNetwork) -> str:
    """Return a hash of the cut and of all the numbers that it reads and that are not tuned."""
    assert network.split is not None
    digest = hashlib.sha256(network.split.name.encode())
    tuned = {id(p) for p in network.image_encoder.parameters() if p.requires_grad}
    state: Mapping[str, Tensor] = network.image_encoder.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if id(tensor) not in tuned and name.startswith(network.split.reads):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
