"""The exact frozen prefix: what a method leaves untouched is computed once per picture.

Everything that SAM-PARSER trains lies behind the trunk, so a step needs the trunk's output alone.
It is computed once, kept on disk, and read at every later step: the same mathematics at the price
of the decoder.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist
import torch
from monai.data import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown, writable
from samparser_monai.files import is_full
from samparser_monai.sam import SamNetwork

log = logging.getLogger(__name__)
HEADER = 256  # of a file, more than what safetensors writes
Precision = Literal["float16", "bfloat16", "float32"]


class FeatureCache:
    """Features on disk, a file to a picture, named by everything that they depend on.

    Args:
        folder: of the entries; processes may share it.
        storage: data type of the entries: ``float16``, or ``float32`` for the very same numbers.
        precision: in which they are computed: ``float32``, or ``bfloat16``, faster on a GPU.
        limit: in bytes; the least recently used entries go when there are more.
    """

    def __init__(
        self,
        folder: str | Path,
        storage: Precision = "float16",
        precision: Precision = "float32",
        limit: float = 1e11,
    ) -> None:
        for name, value, known in (
            ("storage", storage, ("float16", "float32")),
            ("precision", precision, ("float32", "bfloat16")),
        ):
            if value not in known:
                raise unknown(name, value, known)
        at_least(0.0, cache_limit_gb=limit / 1e9)
        self.folder, self.limit = Path(folder), int(limit)
        self.dtype, self.precision = getattr(torch, storage), getattr(torch, precision)
        writable("cache_dir", self.folder)

    def key(self, pixels: Tensor, prefix: str) -> str:
        """Return the name of an entry: a hash of the preprocessed pixels and of the prefix."""
        about = f"{prefix}/{self.precision}/{self.dtype}/{tuple(pixels.shape)}"
        digest = hashlib.sha256(about.encode())
        digest.update(pixels.contiguous().numpy().data)
        return digest.hexdigest()[:40]

    def path(self, key: str) -> Path:
        """Return the file of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> Tensor | None:
        """Return an entry, Cxhxw, memory-mapped; None if it is gone or its checksum is wrong."""
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                features = file.get_tensor("features")
                if (file.metadata() or {}).get("crc32") == _checksum(features):
                    return features
            reason = "its checksum is wrong"
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            reason = str(error)
        log.warning("%s is damaged (%s): it is computed again", path, reason)
        path.unlink(missing_ok=True)
        return None

    def write(self, key: str, features: Tensor) -> Path:
        """Store an entry under a temporary name, then rename it; return its file.

        Raises:
            InputError: the disk is full; what was stored before can be used.
        """
        path, features = self.path(key), features.to("cpu", self.dtype).contiguous()
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            save_file({"features": features}, temporary, {"crc32": _checksum(features)})
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            if not is_full(error, path.parent):
                raise
            raise InputError(
                f"the disk of cache_dir={str(self.folder)!r} is full: free some space, name "
                "another folder by --cache_dir, or lower --cache_limit_gb; what is cached stays"
            ) from error
        finally:
            Path(temporary).unlink(missing_ok=True)
        return path

    def fill(
        self, dataset: Dataset, network: SamNetwork, batch_size: int = 1, workers: int = 0
    ) -> list[str | None]:
        """Compute what is missing and return the key to each item; None where it has no room.

        With several processes each computes its share of the items.
        """
        prefix = prefix_hash(network)
        rank, world = idist.get_rank(), idist.get_world_size()
        share = range(rank, len(dataset), world)
        pictures = DataLoader(
            Subset(dataset, share), batch_size, num_workers=workers, collate_fn=_pictures
        )
        keys: list[str | None] = []
        room = self.limit // world
        stored = self._evict(self.limit)
        size = 0  # of an entry, known after the first
        with tqdm(total=len(share), desc="features", unit="picture", disable=rank > 0) as bar:
            for images in pictures:
                wanted = [self.key(image, prefix) for image in images]
                found = {key: self.path(key) for key in wanted if self.read(key) is not None}
                room -= sum(_use(path) for path in found.values())
                missing = [n for n, key in enumerate(wanted) if key not in found]
                if missing and room > size:
                    computed = self._compute(images[missing], network)
                    if not size:
                        size = computed[0].numel() * self.dtype.itemsize + HEADER
                        self._announce(len(dataset), size)
                    for n, features in zip(missing[: room // size], computed, strict=False):
                        if stored + size > self.limit:
                            stored = self._evict(self.limit - size)
                        found[wanted[n]] = self.write(wanted[n], features)
                        room, stored = room - size, stored + size
                keys += [key if key in found else None for key in wanted]
                bar.update(len(wanted))
        if world > 1:
            shares: list[Any] = [None] * world
            torch.distributed.all_gather_object(shares, keys)
            keys = [shares[n % world][n // world] for n in range(len(dataset))]
        return keys

    def _compute(self, images: Tensor, network: SamNetwork) -> Tensor:
        device = next(network.parameters()).device
        with torch.autocast(device.type, self.precision, self.precision != torch.float32):
            return network.features(images.to(device))

    def _announce(self, count: int, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        log.info(
            "features: up to %d pictures of %.1f MB, %.2f GB in all, into %s (%.0f GB free)",
            *(count, size / 1e6, count * size / 1e9, self.folder, free / 1e9),
        )

    def _evict(self, limit: int) -> int:
        """Remove what was used longest ago until the rest fits; return the size of the rest."""
        entries = [(p, p.stat()) for p in self.folder.glob("*/*.safetensors")]
        total = sum(state.st_size for _, state in entries)
        for path, state in sorted(entries, key=lambda entry: entry[1].st_mtime):
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= state.st_size
        return total


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


def _use(path: Path) -> int:
    """Mark an entry as used, for the least recently used go first; return its size."""
    os.utime(path)
    return path.stat().st_size


def _pictures(items: list[Any]) -> Tensor:
    return torch.stack([torch.as_tensor(item["image"]) for item in items])


def _checksum(tensor: Tensor) -> str:
    return format(zlib.crc32(tensor.contiguous().numpy().data), "08x")
