"""``run.json`` beside a run's results: what made them."""

import hashlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from samparser_monai import __version__
from samparser_monai.errors import InputError, told
from samparser_monai.fetch import sha256_of
from samparser_monai.files import hold, let_go, read_json, write_json
from samparser_monai.sam import SamNetwork
from samparser_monai.states import differences, plain, states_of

PACKAGES = (
    *("torch", "monai", "pytorch-ignite", "numpy", "scipy", "pandas", "segment-anything", "timm"),
    *("nibabel", "SimpleITK", "pydicom", "pillow", "tifffile", "pycocotools", "safetensors"),
)
HASHED = 256e6
"""Bytes up to which the files of an argument are hashed; more go by their sizes and times."""
LISTED = 100
"""Files up to which those of an argument are named one by one."""


class Manifest:
    """Write ``run.json`` when a run begins, and again when it has ended.

    Where ``seconds`` is null the run has not ended: it goes on, or was killed. With torchrun the
    first process writes.

    Args:
        run: training, evaluating, ...
        folder: of the file.
        network: whose base and method it names.
        device: of the run.
        inputs: what is read, by argument: paths, lists of them, or words; None is left out.
        options: in force.
        made: files that the run writes, whose hashes the end adds.
        resume: the run goes on with what is in ``folder``.
    """

    def __init__(
        self,
        run: str,
        folder: str | Path,
        network: nn.Module,
        device: torch.device | str,
        inputs: Mapping[str, Any],
        options: Mapping[str, Any],
        made: Sequence[str] = (),
        resume: bool = False,
    ) -> None:
        self.run, self.folder, self.network, self.device = run, Path(folder), network, device
        self.inputs, self.options, self.made, self.resume = inputs, options, made, resume
        self.content: dict[str, Any] = {}

    def begin(self) -> None:
        """Note what is there before the run.

        Raises:
            InputError: it goes on with what another model, or other options, have made; another
                run writes to the folder.
        """
        hold(self.folder)
        arguments = sys.argv[1:] if Path(sys.argv[0]).parts[-3:-1] == ("monai", "bundle") else None
        self.begun = time.monotonic()
        self.content = {
            "run": self.run,
            "command": arguments and shlex.join(["python", "-m", "monai.bundle", *arguments]),
            "arguments": arguments,
            "folder": os.getcwd(),
            "beside": str(self.folder.resolve()),
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None,
            "error": None,
            "device": _about(torch.device(self.device)),
            "versions": {
                "python": platform.python_version(),
                "samparser_monai": __version__,
                **{name: found for name in PACKAGES if (found := _version(name))},
            },
            **_of(self.network),
            "options": json.loads(json.dumps(plain(self.options))),
            "inputs": {k: files_of(v) for k, v in self.inputs.items() if v is not None},
            "made": {},
        }
        before = self.folder / "run.json"
        if self.resume and before.exists():
            if told := differences(_model(read_json(before)), _model(self.content)):
                raise InputError(
                    f"resume=True, but {self.folder} was made otherwise: {told}; ask for the same, "
                    "or name another folder"
                )
        self._write()

    def end(self, error: str | None = None) -> None:
        """Note how long it took, and what it has made; ``error`` is why it ended, if it failed."""
        made = [path for path in map(Path, self.made) if path.is_file()]
        self.content |= {
            "seconds": round(time.monotonic() - self.begun, 1),
            "error": error,
            "made": {path.name: sha256_of(path) for path in made},
        }
        self._write()
        let_go(self.folder)

    def __call__(self, *works: Callable[[], Any]) -> None:
        """Do the work, one after another, and note its end, also where it fails."""
        if not self.content:
            self.begin()
        try:
            for work in works:
                work()
        except Exception as error:
            self.end(told(error))
            raise
        self.end()

    def _write(self) -> None:
        if os.environ.get("RANK", "0") == "0":
            write_json(self.folder / "run.json", self.content)


def _model(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all cases of a run have in common; those whose files change are done again."""
    inputs = {k: v for k, v in content["inputs"].items() if k in ("tuned", "model_file")}
    parts = [v["digest"] if isinstance(v, Mapping) else v for v in inputs.values()]
    return {key: content[key] for key in ("weights", "method", "options")} | {"tuned": parts}


def _of(network: nn.Module) -> dict[str, Any]:
    if not isinstance(network, SamNetwork):  # a configuration may name another
        return {"weights": {"backbone": type(network).__name__, "sha256": None}, "method": {}}
    return {
        "weights": {"backbone": network.backbone, "sha256": network.base_sha256},
        "method": {"name": network.method, **network.options},
    }


def files_of(given: Any) -> Any:
    """Return what identifies the files of an argument; what is no path is returned as it is.

    ``by`` says by what: ``sha256``, or ``size and mtime`` where hashing would take long; ``digest``
    is the file's own hash, of several that of the list of their names and states.
    """
    several = given if isinstance(given, list | tuple) else [given]
    if not all(isinstance(one, str | Path) and Path(one).exists() for one in several):
        return str(given)
    states: dict[str, Any] = {}
    for one in map(Path, several):
        for name, size, mtime in states_of(one):
            states[os.path.normpath(one / name) if name != "." else str(one)] = (size, mtime)
    total = sum(size for size, _ in states.values())
    hashed = total <= HASHED
    if hashed:
        states = {name: sha256_of(Path(name)) for name in states}
    listed = json.dumps(sorted(states.items()), separators=(",", ":")).encode()
    alone = hashed and len(states) == 1
    return {
        "path": [str(one) for one in several] if several is given else str(given),
        "files": len(states),
        "bytes": total,
        "by": "sha256" if hashed else "size and mtime",
        "digest": next(iter(states.values())) if alone else hashlib.sha256(listed).hexdigest(),
        **({"each": states} if 1 < len(states) <= LISTED else {}),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # where a bundle runs without it
        return None


def _about(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"device": str(device), "name": torch.cuda.get_device_name(device)}
    name = platform.processor() or platform.machine()
    return {"device": str(device), "name": name, "threads": torch.get_num_threads()}
