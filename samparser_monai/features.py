"""The exact frozen prefix: what a method leaves untouched is computed once per picture.

Everything that SAM-PARSER trains lies behind the trunk, so a step needs the trunk's output alone.
It is computed once, kept on disk, and read at every later step: the same mathematics at the price
of the decoder.
"""

import errno
import hashlib
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import ignite.distributed as idist
import torch
from monai.data import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler
from tqdm import tqdm

from samparser_monai.data.collate import collate
from samparser_monai.errors import InputError, unknown
from samparser_monai.sam import SamNetwork

log = logging.getLogger(__name__)
Storage = Literal["float16", "float32"]


class FeatureLoader(DataLoader):
    """A loader of prompted pictures that brings their cached features where there is a prefix.

    With several processes each fills and loads its own share; n processes with one picture a step
    see the pictures that one process sees with n a step.

    Args:
        dataset: whose items have ``image``, normalized and in the model's frame.
        network: after its method has been applied.
        cache_dir: of the entries; None to compute the prefix at every step.
        storage: of an entry: ``float16``, or ``float32`` for the very same numbers.
        limit_gb: least recently used entries go when the cache grows larger than this.
        shuffle: draw a new order in every epoch; EpochSeed says which.
        **options: of torch's DataLoader.
    """

    def __init__(
        self,
        dataset: Dataset,
        network: SamNetwork,
        cache_dir: str | Path | None,
        storage: Storage = "float16",
        limit_gb: float = 100.0,
        shuffle: bool = False,
        **options: Any,
    ) -> None:
        if cache_dir is not None and network.split is None:
            log.info("this method leaves no part of the encoder untouched: nothing to cache")
        elif cache_dir is not None:
            cache = FeatureCache(Path(cache_dir) / "features", storage, int(limit_gb * 1e9))
            dataset = _CachedDataset(dataset, cache.fill(dataset, network), cache)
        sampler: DistributedSampler = DistributedSampler(
            dataset, idist.get_world_size(), idist.get_rank(), shuffle=shuffle
        )
        super().__init__(dataset, sampler=sampler, collate_fn=collate, **options)


class _CachedDataset(Dataset):
    """The items of a dataset with ``features`` in place of the picture, where they are cached."""

    def __init__(self, dataset: Dataset, keys: list[str | None], cache: "FeatureCache") -> None:
        items = [
            item if key is None else {**item, "features": key}
            for item, key in zip(dataset.data, keys, strict=True)
        ]
        super().__init__(items, dataset.transform)
        self.cache = cache

    def _transform(self, index: int) -> Any:
        item = super()._transform(index)
        if "features" in item:
            item["features"] = self.cache.read(item["features"]).float()
        return item


class FeatureCache:
    """Features on disk, a file to a picture, named by everything that they depend on.

    Args:
        folder: of the entries; processes may share it.
        storage: data type of the entries.
        limit: in bytes.
    """

    def __init__(self, folder: Path, storage: Storage = "float16", limit: int = 10**11) -> None:
        if storage not in get_args(Storage):
            raise unknown("storage", storage, get_args(Storage))
        self.folder, self.limit = folder, limit
        self.dtype = getattr(torch, storage)
        folder.mkdir(parents=True, exist_ok=True)

    def key(self, pixels: Tensor, prefix: str) -> str:
        """Return the name of an entry: a hash of the preprocessed pixels and of the prefix."""
        digest = hashlib.sha256(f"{prefix}/{self.dtype}/{tuple(pixels.shape)}".encode())
        digest.update(pixels.contiguous().numpy().tobytes())
        return digest.hexdigest()[:40]

    def path(self, key: str) -> Path:
        """Return the file of an entry."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> Tensor:
        """Return an entry, Cxhxw, memory-mapped."""
        with safe_open(self.path(key), framework="pt") as file:
            return file.get_tensor("features")

    def intact(self, key: str) -> bool:
        """Tell whether an entry is there and its checksum is right; a damaged one is removed."""
        path = self.path(key)
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                known = (file.metadata() or {}).get("crc32")
                intact = known == _checksum(file.get_tensor("features"))
        except (SafetensorError, OSError):
            intact = False
        if intact:
            os.utime(path)  # it was used: the least recently used entries go first
        else:
            log.warning("%s is damaged: it is computed again", path)
            path.unlink(missing_ok=True)
        return intact

    def write(self, key: str, features: Tensor) -> None:
        """Store an entry under a temporary name, then rename it.

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
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
            if not full:
                raise
            raise InputError(
                f"the disk of cache_dir={str(self.folder)!r} is full: free some space, name "
                "another folder by --cache_dir, or lower --cache_limit_gb; what is cached stays"
            ) from error
        finally:
            Path(temporary).unlink(missing_ok=True)

    def fill(self, dataset: Dataset, network: SamNetwork) -> list[str | None]:
        """Compute what is missing and return the key to each item; None where it has no room.

        With several processes each computes its share of the items.
        """
        prefix = prefix_hash(network)
        rank, world = idist.get_rank(), idist.get_world_size()
        keys: dict[int, str | None] = {}
        room = self.limit // world
        for index in tqdm(
            range(rank, len(dataset), world), "features", unit="picture", disable=rank > 0
        ):
            image = torch.as_tensor(dataset[index]["image"])
            key = self.key(image, prefix)
            if not self.intact(key) and room > 0:
                self._compute(key, image, network, len(dataset) if index == rank else 0)
            stored = self.path(key).exists()
            room -= self.path(key).stat().st_size if stored else 0
            keys[index] = key if stored else None
        if world > 1:
            shares: list[Any] = [None] * world
            torch.distributed.all_gather_object(shares, keys)
            keys = {index: key for share in shares for index, key in share.items()}
        return [keys[index] for index in range(len(dataset))]

    def _compute(self, key: str, image: Tensor, network: SamNetwork, announced: int) -> None:
        device = next(network.parameters()).device
        features = network.features(image[None].to(device))[0]
        size = features.numel() * self.dtype.itemsize
        if announced:
            self._announce(announced, size)
        self._evict(self.limit - size)
        self.write(key, features)

    def _announce(self, count: int, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        log.info(
            "features: up to %d pictures of %.1f MB, %.2f GB in all, into %s (%.0f GB free)",
            *(count, size / 1e6, count * size / 1e9, self.folder, free / 1e9),
        )

    def _evict(self, limit: int) -> None:
        entries = [(p, p.stat()) for p in self.folder.glob("*/*.safetensors")]
        total = sum(state.st_size for _, state in entries)
        for path, state in sorted(entries, key=lambda entry: entry[1].st_mtime):
            if total <= limit:
                return
            path.unlink(missing_ok=True)
            total -= state.st_size


def prefix_hash(network: SamNetwork) -> str:
    """Return a hash of the cut and of all the encoder's numbers that are not tuned."""
    assert network.split is not None
    digest = hashlib.sha256(network.split.name.encode())
    tuned = {id(p) for p in network.image_encoder.parameters() if p.requires_grad}
    state: Mapping[str, Tensor] = network.image_encoder.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if id(tensor) not in tuned:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _checksum(tensor: Tensor) -> str:
    return format(zlib.crc32(tensor.contiguous().numpy().tobytes()), "08x")
