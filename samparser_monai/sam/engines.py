"""The frozen prefix computed by ONNX Runtime, which is faster than torch on a processor."""

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError, unknown, writable
from samparser_monai.sam.network import SamNetwork

Engine = Literal["torch", "onnxruntime"]
LARGEST = 1.8e9
"""Bytes of weights in one graph; ONNX allows two gigabytes."""


def with_engine(network: Any, engine: Engine, folder: str | Path) -> Any:
    """Let a network's frozen prefix be computed by an engine, where it runs on a processor.

    Args:
        network: after its method has been applied; one without a prefix stays with torch.
        engine: ``torch``, or ``onnxruntime``: the same to 1e-4 of the features' size.
        folder: of the graphs, which are exported once.

    Raises:
        InputError: there is no such engine, it is not installed, or the encoder is too large.
    """
    if engine not in get_args(Engine):
        raise unknown("engine", engine, get_args(Engine))
    if engine == "torch" or network.split is None:
        return network
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"engine={engine!r} needs the package {package}: pip install '.[export]', or leave "
                "--engine out"
            )
    if (size := sum(p.nbytes for p in network.image_encoder.parameters())) > LARGEST:
        raise InputError(
            f"engine={engine!r} takes encoders of up to {LARGEST / 1e9:.1f} GB, that of "
            f"{network.backbone} has {size / 1e9:.1f}: leave --engine out"
        )
    network.engine = OnnxPrefix(writable("cache_dir", folder))
    return network


class OnnxPrefix:
    """The frozen prefix of a network as a graph, exported anew when its weights have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._session: Any = None
        self._state: list[tuple[int, int]] = []

    def __call__(self, network: SamNetwork, images: Tensor) -> Tensor:
        """Return the features of images Bx3xSxS."""
        tensors = network.image_encoder.state_dict(keep_vars=True).values()
        # what is tuned is not in the prefix; a version grows with each change
        state = [(id(t), t._version) for t in tensors if not t.requires_grad]
        if state != self._state:
            self._session, self._state = self._opened(network, images[:1]), state
        found = [self._session.run(None, {"image": image[None].numpy()})[0] for image in images]
        return torch.cat([torch.from_numpy(features) for features in found])

    def _opened(self, network: SamNetwork, image: Tensor) -> Any:
        import onnxruntime  # optional, and slow to load

        name = hashlib.sha256(
            f"{prefix_hash(network)}/{tuple(image.shape)}/{torch.__version__}".encode()
        ).hexdigest()[:40]
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


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
