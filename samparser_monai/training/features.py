"""The exact frozen prefix: what a method leaves untouched is computed once per picture.

Everything that SAM-PARSER trains lies behind the trunk, so a step needs the trunk's output alone.
It is computed once, kept on disk, and read at every later step: the same mathematics at the price
of the decoder.
"""

import copy
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import ignite.distributed as idist
import torch
from monai.data import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from samparser_monai.errors import InputError, at_least, unknown, writable
from samparser_monai.files import is_full
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.engines import prefix_hash
from samparser_monai.training.ahead import made_ahead

if TYPE_CHECKING:
    from samparser_monai.training.prepared import PreparedItems

log = logging.getLogger(__name__)
HEADER = 256  # of a file, more than what safetensors writes
ENDINGS = (".safetensors", ".item")  # features, and what is prepared beside them
AT_ONCE = 2
"""Entries that are written at a time."""
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

    def key(self, pixels: Tensor, prefix: str, grey: Sequence[float] | None = None) -> str:
        """Return the name of an entry: a hash of the preprocessed pixels and of the prefix.

        Args:
            pixels: CxHxW.
            prefix: see prefix_hash.
            grey: what the channels of a grey picture are made by of the first, which then is all.
        """
        about = f"{prefix}/{self.precision}/{self.dtype}/{tuple(pixels.shape)}"
        if grey is not None:
            about, pixels = f"{about}/{[float(number) for number in grey]}", pixels[0]
        digest = hashlib.sha256(about.encode())
        digest.update(pixels.contiguous().numpy().data)
        return digest.hexdigest()[:40]

    def path(self, key: str, ending: str = ".safetensors") -> Path:
        """Return the file of an entry."""
        return self.folder / key[:2] / f"{key}{ending}"

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
        with self.entry(path) as temporary:
            save_file({"features": features}, temporary, {"crc32": _checksum(features)})
        return path

    @contextmanager
    def entry(self, path: Path) -> Iterator[Path]:
        """Give a temporary path to write to, and rename it when that has gone well.

        Raises:
            InputError: the disk is full; what was stored before can be used.
        """
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            if not is_full(error, path.parent):
                raise
            raise InputError(
                f"the disk of cache_dir={str(self.folder)!r} is full: free some space, name "
                "another folder by --cache_dir, or lower --cache_limit_gb; what is cached stays"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def use(self, path: Path) -> int:
        """Mark an entry as used, for the least recently used go first; return its size, or 0."""
        try:
            os.utime(path)
            return path.stat().st_size
        except FileNotFoundError:  # another process needed the room
            return 0

    def fill(
        self,
        dataset: Dataset,
        network: SamNetwork,
        batch_size: int = 1,
        workers: int = 0,
        prepared: "PreparedItems | None" = None,
    ) -> list[str | None]:
        """Compute what is missing and return the key to each item; None where it has no room.

        With several processes each computes its share of the items, and returns their keys.

        Args:
            dataset: whose items have ``image``, as the network takes it.
            network: whose frozen prefix it is.
            batch_size: pictures that one pass of the prefix takes.
            workers: threads that make and hash the pixels.
            prepared: where the rest of the items is kept, and found without making pixels.
        """
        prefix = prefix_hash(network)
        rank, world = idist.get_rank(), idist.get_world_size()
        share = range(rank, len(dataset), world)
        keys: dict[int, str | None] = {}
        if prepared is not None:
            keys = {n: key for n in share if (key := prepared.key(n))}
        room = self.limit // world - sum(self.use(self.path(key)) for key in keys.values() if key)
        stored = self.evict(self.limit)
        size = 0  # of an entry, known after the first
        device = next(network.parameters()).device
        keyed = _Keyed(dataset, self, prefix, prepared, device.type == "cuda")
        left = [n for n in share if n not in keys]
        batches = [left[n : n + batch_size] for n in range(0, len(left), batch_size)]
        with (
            tqdm(total=len(share), desc="features", unit="picture", disable=rank > 0) as bar,
            _Writing(self) as writing,
        ):
            bar.update(len(keys))
            for batch, missing, pixels in made_ahead(keyed.together, batches, workers):
                found = {key: self.path(key) for _, key in batch if key not in missing}
                room -= sum(self.use(path) for path in found.values())
                if pixels is not None and room > size:
                    computed = self._compute(pixels.to(device, non_blocking=True), network)
                    if not size:
                        size = computed[0].numel() * self.dtype.itemsize + HEADER
                        self._announce(len(dataset), size)
                    for key, features in list(zip(missing, computed, strict=True))[: room // size]:
                        if stored + size > self.limit:  # more than one goes: a look at all is long
                            own = (self.limit // world - room) * world
                            few = max(own, int(0.95 * self.limit))
                            writing.wait()
                            stored = self.evict(min(self.limit - size, few))
                        found[key] = writing(key, features)
                        room, stored = room - size, stored + size
                keys |= {n: key if key in found else None for n, key in batch}
                bar.update(len(batch))
        if size:  # other processes have written too
            self.evict(self.limit)
        idist.barrier()
        return [keys[n] for n in share]

    def _compute(self, images: Tensor, network: SamNetwork) -> Tensor:
        with torch.autocast(images.device.type, self.precision, self.precision != torch.float32):
            return network.features(images)

    def _announce(self, count: int, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        log.info(
            "features: up to %d pictures of %.1f MB, %.2f GB in all, into %s (%.0f GB free)",
            *(count, size / 1e6, count * size / 1e9, self.folder, free / 1e9),
        )

    def evict(self, limit: int) -> int:
        """Remove what was used longest ago until the rest fits; return the size of the rest."""
        entries = []
        for folder in os.scandir(self.folder):
            for entry in os.scandir(folder) if folder.is_dir() else ():
                if entry.name.endswith(ENDINGS):
                    with suppress(FileNotFoundError):  # another process needed the room
                        state = entry.stat()
                        entries.append((state.st_mtime, state.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries) if total > limit else ():
            if total <= limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total


class _Keyed:
    """The places, keys and pixels of a dataset's items; no pixels where features are cached."""

    def __init__(
        self,
        dataset: Dataset,
        cache: FeatureCache,
        prefix: str,
        prepared: "PreparedItems | None",
        pinned: bool,
    ) -> None:
        self.dataset, self.cache, self.prefix, self.prepared = dataset, cache, prefix, prepared
        self.pinned, self.local = pinned, threading.local()

    def together(
        self, places: Sequence[int]
    ) -> tuple[list[tuple[int, str]], list[str], Tensor | None]:
        """Return places and keys, the keys that are missing, and their pixels Bx3xSxS."""
        found = [self.one(n) for n in places]
        missing = {key: pixels for _, key, pixels in found if pixels is not None}
        (*pixels,) = missing.values()
        stacked = None
        if pixels:
            stacked = torch.stack(pixels) if len(pixels) > 1 else pixels[0][None]
            stacked = stacked.pin_memory() if self.pinned else stacked
        return [(n, key) for n, key, _ in found], [*missing], stacked

    def one(self, n: int) -> tuple[int, str, Tensor | None]:
        """Return place, key and pixels of an item, which is prepared on the way."""
        if not hasattr(self.local, "dataset"):  # augmentation has a state: each thread its own
            transform = copy.deepcopy(self.dataset.transform)
            self.local.dataset = Dataset(self.dataset.data, transform)
        item = self.local.dataset[n]
        pixels = torch.as_tensor(item["image"])
        key = self.cache.key(pixels, self.prefix, item.get("grey"))
        if self.prepared is not None:
            self.prepared.write(n, item, key)
        return n, key, pixels if self.cache.read(key) is None else None


class _Writing:
    """Write entries in threads of their own, while others are computed."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache
        self.pool = ThreadPoolExecutor(AT_ONCE)
        self.written = deque[Future[Path]]()

    def __enter__(self) -> "_Writing":
        return self

    def __call__(self, key: str, features: Tensor) -> Path:
        """Begin to write an entry; return its file.

        Raises:
            InputError: an earlier one could not be written.
        """
        if len(self.written) >= 2 * AT_ONCE:
            self.written.popleft().result()
        self.written.append(self.pool.submit(self.cache.write, key, features))
        return self.cache.path(key)

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            InputError: one could not be.
        """
        while self.written:
            self.written.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown()
        if kind is None:
            self.wait()


def _checksum(tensor: Tensor) -> str:
    return format(zlib.crc32(tensor.contiguous().numpy().data), "08x")
