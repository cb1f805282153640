"""Weights in the files that people have: with wrappers and prefixes around SAM's own names."""

import argparse
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from samparser_monai.errors import InputError

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
# what DistributedDataParallel, torch.compile and FSDP put into names, at any depth
_INSERTED = re.compile(
    r"(?<![^./])(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_OF_SAM = re.compile(rf"(?P<prefix>.*?)(?<![^./])(?:{'|'.join(PARTS)})[./]")
# plain data that trainings leave beside the weights, safe to read
_PLAIN: list[Any] = [
    *(argparse.Namespace, np.dtype, *{type(np.dtype(kind)) for kind in "?bBhHiIlLefd"}),
    *((np.float64(0).__reduce__()[0], f"numpy.{c}.multiarray.scalar") for c in ("core", "_core")),
]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file under SAM's own names.

    Args:
        path: of dictionaries of tensors by ``torch.save``, or of safetensors. The network may lie
            in a wrapper (``model``, ``state_dict``, ...) with an optimizer beside, and its names
            may have a prefix (``module.``, ``sam.``, ...): both are taken off.

    Raises:
        InputError: the file is missing or damaged; it holds no SAM, more than one, or numbers that
            are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise _refused(path, "is not a file: give the path of a SAM checkpoint")
    found = {_INSERTED.sub("", name): tensor for name, tensor in _flat(_content(path))}
    prefixes = {match["prefix"] for name in found if (match := _OF_SAM.match(name))}
    if not prefixes:
        raise _refused(path, _what_else(found))
    if len(prefixes) > 1:
        shown = sorted(prefix.rstrip("./") or "the top" for prefix in prefixes)
        raise _refused(
            path, f"holds several networks, under {_few(shown)}: save the one that is meant alone"
        )
    (prefix,) = prefixes
    # what lies in other dictionaries (an optimizer) or beside the network (a loss) is not of it
    own = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    own = {name.replace("/", "."): t for name, t in own.items() if _of_network(name)}
    for name, tensor in own.items():
        if not torch.isfinite(tensor).all():
            raise _refused(path, f"holds numbers that are not finite, in {name!r}: train again")
    return own


def _of_network(name: str) -> bool:
    return "/" not in name or _OF_SAM.match(name) is not None


def _flat(content: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor by its name, behind the dictionaries that it lies in: ``model/NAME``."""
    if isinstance(content, Tensor):
        yield place.removesuffix("/"), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{place}{key}/")


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        begin = file.read(16)
    try:
        if begin[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
            return load_file(path)
        with torch.serialization.safe_globals(_PLAIN):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _refused(path, f"cannot be read: {_reason(path, begin, error)}") from error


def _reason(path: Path, begin: bytes, error: Exception) -> str:
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it holds a {named[1]}, which is code, no numbers; save the state_dict() alone"
    if zipfile.is_zipfile(path):
        if any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
            return "it is TorchScript; save the state_dict() of the network that it was made of"
    elif begin.lstrip()[:1] == b"<":
        return "it is a web page; fetch the file itself"
    return f"it is damaged, or no file of torch.save ({type(error).__name__}); fetch it again"


def _what_else(found: Collection[str]) -> str:
    if not found:
        return "does not hold a dictionary of tensors: save the state_dict() of a SAM"
    if any("vision_encoder." in name for name in found):
        return (
            f"has the names of transformers' SamModel ({_few(found, 1)}): give the file in SAM's "
            "own names that it was converted from"
        )
    parts = ", ".join(f"{part}.*" for part in PARTS)
    return f"holds tensors named {_few(found)}, but none of {parts}: give a whole SAM"


def _few(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"checkpoint={str(path)!r} {why}")
