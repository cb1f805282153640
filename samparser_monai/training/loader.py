"""Batches of prompted pictures, with their cached features where a method leaves a prefix."""

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from monai.data import Dataset
from monai.transforms import Compose
from torch.utils.data import DataLoader, DistributedSampler, Subset

from samparser_monai.errors import InputError, at_least, root_cause
from samparser_monai.sam import SamNetwork
from samparser_monai.training.collate import collate
from samparser_monai.training.features import FeatureCache, Precision

log = logging.getLogger(__name__)


class FeatureLoader(DataLoader):
    """A loader of prompted pictures that brings their cached features where there is a prefix.

    With several processes each fills and loads its own share; n processes with one picture a step
    see the pictures that one process sees with n a step.

    Args:
        dataset: whose items have ``image``, normalized and in the model's frame.
        network: after its method has been applied.
        cache_dir: of the entries; None to compute the prefix at every step.
        storage: of an entry: ``float16``, or ``float32`` for the very same numbers.
        precision: of the prefix while filling: ``float32``, or ``bfloat16``, faster on a GPU.
        limit_gb: least recently used entries go when the cache grows larger than this.
        fill_batch_size: pictures that one pass of the prefix takes.
        views: with an augmentation, how many augmented views of a picture are cached, one after
            the other in the epochs; each item gets its number as ``view``.
        size: of the pictures only so many, drawn by the seed; 0 takes all.
        seed: of that draw.
        shuffle: draw a new order in every epoch; EpochSeed says which.
        **options: of torch's DataLoader.
    """

    def __init__(
        self,
        dataset: Dataset,
        network: SamNetwork,
        cache_dir: str | Path | None,
        storage: Precision = "float16",
        precision: Precision = "float32",
        limit_gb: float = 100.0,
        fill_batch_size: int = 1,
        views: int = 0,
        size: int = 0,
        seed: int = 0,
        shuffle: bool = False,
        **options: Any,
    ) -> None:
        at_least(0, views=views, train_size=size)
        at_least(0.0, cache_limit_gb=limit_gb)
        at_least(1, fill_batch_size=fill_batch_size)
        if size:
            drawn = np.random.default_rng(seed).permutation(len(dataset))[:size]
            dataset = Dataset([dataset.data[n] for n in sorted(drawn)], dataset.transform)
        dataset = Dataset(dataset.data, _NamedCase(dataset.transform))
        if views:
            items = [{**item, "view": n} for n in range(views) for item in dataset.data]
            dataset = Dataset(items, dataset.transform)
        if cache_dir is not None and network.split is None:
            _say_once(f"{network.method} leaves no part of the encoder untouched: nothing to cache")
        elif cache_dir is not None:
            cache = FeatureCache(
                Path(cache_dir) / "features", storage, precision, int(limit_gb * 1e9)
            )
            workers = options.get("num_workers", 0)
            keys = cache.fill(dataset, network, fill_batch_size, workers)
            dataset = _CachedDataset(dataset, keys, cache)
        sampler = _ViewSampler(dataset, max(views, 1), shuffle)
        super().__init__(dataset, sampler=sampler, collate_fn=collate, **options)


@functools.cache
def _say_once(message: str) -> None:
    log.info(message)


class _NamedCase(Compose):
    """The transforms of a dataset; what goes wrong with an item names its case, in one line.

    It is a Compose, so that an epoch's seed reaches what draws at random.
    """

    def __init__(self, transform: Any) -> None:
        super().__init__(getattr(transform, "transforms", transform))

    def __call__(self, item: Any, *args: Any, **options: Any) -> Any:
        """Transform the item.

        Raises:
            InputError: whatever went wrong.
        """
        try:
            return super().__call__(item, *args, **options)
        except Exception as error:
            case, cause = item.get("case"), root_cause(error)
            if cause and str(case) in str(cause):
                raise cause from error
            bottom: BaseException = cause or error
            while bottom.__cause__ is not None:
                bottom = bottom.__cause__
            told = str(cause) if cause else f"{type(bottom).__name__}: {bottom}"
            raise InputError(f"case {case!r}: {' '.join(told.split())}") from error


class _CachedDataset(Dataset):
    """The items of a dataset with ``features`` in place of the picture.

    A batch with a picture whose features have no room, or were damaged since, goes without any:
    the network computes them.
    """

    def __init__(self, dataset: Dataset, keys: list[str | None], cache: FeatureCache) -> None:
        super().__init__(dataset.data, dataset.transform)
        self.keys, self.cache = keys, cache

    def __getitems__(self, indices: list[int]) -> list[Any]:
        items = [dict(self.data[index]) for index in indices]
        keys = [self.keys[index] for index in indices]
        found = [self.cache.read(key) for key in keys if key is not None]
        whole = [features.float() for features in found if features is not None]
        if len(whole) == len(items):
            for item, features in zip(items, whole, strict=True):
                item["features"] = features
        return [self.transform(item) for item in items]


class _ViewSampler(DistributedSampler):
    """Every picture once in an epoch, in the view whose turn it is; a share to each process."""

    def __init__(self, dataset: Dataset, views: int, shuffle: bool) -> None:
        self.pictures, self.views = len(dataset) // views, views
        super().__init__(
            Subset(dataset, range(self.pictures)),
            idist.get_world_size(),
            idist.get_rank(),
            shuffle=shuffle,
        )

    def __iter__(self) -> Iterator[int]:
        first = self.epoch % self.views * self.pictures
        return (first + index for index in super().__iter__())
