"""What does not change over the epochs is made of a picture once, and kept with its features."""

import json
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from samparser_monai.training.features import FeatureCache
from samparser_monai.training.fingerprint import fingerprint, states_of

Item = dict[Hashable, Any]
KEY = 40  # hexadecimal digits of a key to features


class PreparedItems:
    """Items as the transforms that draw nothing leave them, on disk beside their features.

    An entry is named by all that it depends on: the item and the state of the files that it
    names, the transforms and the frozen prefix. So it is found without making the pixels. It holds
    the key of the features, the hash of the pixels themselves, which stays what is trusted.

    Args:
        cache: of the features.
        prefix: hash of the frozen prefix.
        transforms: that draw nothing.
        items: before them. With several processes each names its share of them, for they may lie
            elsewhere on another machine.
    """

    def __init__(
        self, cache: FeatureCache, prefix: str, transforms: Any, items: Sequence[Item]
    ) -> None:
        self.cache, self.items = cache, items
        about = fingerprint(prefix, cache.precision, cache.dtype, transforms)
        rank, world = idist.get_rank(), idist.get_world_size()
        own = [fingerprint(about, item, states_of(item)) for item in items[rank::world]]
        shares: list[Any] = [own] * world
        if world > 1:
            torch.distributed.all_gather_object(shares, own)
        self.names = [shares[n % world][n // world] for n in range(len(items))]

    def path(self, n: int) -> Path:
        """Return the file of an item's entry."""
        return self.cache.path(self.names[n], ".item")

    def key(self, n: int) -> str | None:
        """Return the key of an item's features; None where either is not there."""
        path = self.path(n)
        try:
            with path.open("rb") as file:
                key = file.read(KEY).decode()
            self.cache.use(path)
        except (OSError, UnicodeDecodeError):
            return None
        return key if self.cache.use(self.cache.path(key)) else None

    def write(self, n: int, made: Mapping[Hashable, Any], key: str) -> None:
        """Keep what the transforms have made of an item, but for its picture."""
        item = self.items[n]
        new = {
            str(name): value
            for name, value in made.items()
            if name != "image" and (name not in item or value is not item[name])
        }
        arrays = {n: _plain(v) for n, v in new.items() if isinstance(v, Tensor | np.ndarray)}
        others = {n: v for n, v in new.items() if n not in arrays}
        text = json.dumps(others, default=bytes.decode).encode()  # the counts of run lengths
        about = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        packed = zlib.compress(save({**arrays, "": about}), level=1)  # masks are nearly empty
        with self.cache.entry(self.path(n)) as path:
            path.write_bytes(key.encode() + packed)

    def read(self, n: int) -> Item | None:
        """Return an item with its ``features``; None where an entry is gone or damaged."""
        path = self.path(n)
        try:
            stored = path.read_bytes()
            made: dict[str, Any] = load(zlib.decompress(stored[KEY:]))
            others = json.loads(made.pop("").numpy().tobytes())
            features = self.cache.read(stored[:KEY].decode())
        except FileNotFoundError:
            return None
        except (OSError, zlib.error, SafetensorError, ValueError):
            path.unlink(missing_ok=True)
            return None
        if features is None:
            return None
        nothing = torch.empty(0)  # the network will not look at the picture
        return {**self.items[n], **made, **others, "image": nothing, "features": features}


def _plain(value: Tensor | np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))
