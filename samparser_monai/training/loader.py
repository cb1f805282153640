"""Batches of prompted pictures, with their cached features where a method leaves a prefix."""

import functools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose
from monai.transforms.compose import execute_compose
from torch.utils.data import DataLoader, DistributedSampler, Subset

from samparser_monai.errors import InputError, at_least, root_cause
from samparser_monai.files import sockets_fit
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.engines import prefix_hash
from samparser_monai.training.collating import collate
from samparser_monai.training.features import FeatureCache
from samparser_monai.training.prepared import PreparedItems
from samparser_monai.training.transforms import draws

log = logging.getLogger(__name__)


class FeatureLoader(DataLoader):
    """A loader of prompted pictures, which brings their features once they are cached.

    With several processes each loads its own share; n processes with one picture a step see the
    pictures that one process sees with n a step.

    Args:
        dataset: whose items have ``image``, normalized and in the model's square.
        views: with an augmentation, how many augmented views of a picture are cached, one after
            the other in the epochs; each item gets its number as ``view``.
        size: of the pictures only so many, drawn by the seed; 0 takes all.
        seed: of that draw.
        shuffle: draw a new order in every epoch; EpochSeed says which.
        **options: of torch's DataLoader.

    Raises:
        InputError: one of these is out of range, or processes cannot talk in this temporary folder.
    """

    def __init__(
        self,
        dataset: Dataset,
        views: int = 0,
        size: int = 0,
        seed: int = 0,
        shuffle: bool = False,
        **options: Any,
    ) -> None:
        at_least(0, views=views, train_size=size)
        if options.get("num_workers") and not sockets_fit():
            raise InputError(
                f"num_workers={options['num_workers']}: the path of the temporary folder "
                f"{tempfile.gettempdir()} is too long for processes to talk in it; set TMPDIR to "
                "a shorter one, /tmp say, or num_workers to 0"
            )
        items = dataset.data
        if size:
            drawn = np.random.default_rng(seed).permutation(len(items))[:size]
            items = [items[n] for n in sorted(drawn)]
        if views:
            items = [{**item, "view": n} for n in range(views) for item in items]
        prompted = _PromptedDataset(items, _NamedCase(dataset.transform))
        sampler = _ViewSampler(prompted, max(views, 1), shuffle)
        options.setdefault("pin_memory", torch.cuda.is_available())  # so that copies overlap
        super().__init__(prompted, sampler=sampler, collate_fn=collate, **options)


def fill_features(
    loader: FeatureLoader, network: SamNetwork, cache: FeatureCache, batch_size: int = 1
) -> None:
    """Compute what the cache lacks of a loader's pictures; from now on the loader brings it.

    With several processes each fills its own share.

    Args:
        loader: of the pictures.
        network: after its method has been applied; one that leaves no prefix fills nothing.
        cache: of the features.
        batch_size: pictures that one pass of the prefix takes.
    """
    at_least(1, fill_batch_size=batch_size)
    if network.split is None:
        _say_once(f"{network.method} leaves no part of the encoder untouched: nothing to cache")
        return
    pictures = loader.dataset
    assert isinstance(pictures, _PromptedDataset)
    steady = Dataset(pictures.data, pictures.transform.steady)
    once, _ = pictures.transform.split()
    prepared = PreparedItems(cache, prefix_hash(network), once, pictures.data)
    cache.fill(steady, network, batch_size, loader.num_workers, prepared)
    pictures.prepared = prepared


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
        """Transform the item."""
        return self._through(self.transforms, item)

    def split(self) -> tuple[list[Any], list[Any]]:
        """Return the transforms that make the same of an item every time, and the others."""
        every = _flat(self)
        return [t for t in every if not draws(t)], [t for t in every if draws(t)]

    def steady(self, item: Any) -> Any:
        """Return what is made of an item once."""
        return self._through(self.split()[0], item)

    def drawn(self, item: Any) -> Any:
        """Return what is made at every step of an item that is prepared."""
        return self._through(self.split()[1], item)

    def _through(self, transforms: Sequence[Any], item: Any) -> Any:
        """Transform the item.

        Raises:
            InputError: whatever went wrong.
        """
        try:
            return execute_compose(item, transforms)
        except Exception as error:
            case, cause = item.get("case"), root_cause(error)
            if cause and str(case) in str(cause):
                raise cause from error
            bottom: BaseException = cause or error
            while bottom.__cause__ is not None:
                bottom = bottom.__cause__
            told = str(cause) if cause else f"{type(bottom).__name__}: {bottom}"
            raise InputError(f"case {case!r}: {' '.join(told.split())}") from error


def _flat(transform: Any) -> list[Any]:
    """Return what a Compose, and those in it, consist of; its own flatten() seeds them anew."""
    if not isinstance(transform, Compose):
        return [transform]
    return [part for inner in transform.transforms for part in _flat(inner)]


class _PromptedDataset(Dataset):
    """The items of a dataset, prepared and with ``features`` where these are cached.

    A batch with a picture whose features have no room, or were damaged since, goes without any:
    the network computes them.
    """

    prepared: PreparedItems | None = None

    def __getitems__(self, indices: list[int]) -> list[Any]:
        if self.prepared is not None:
            found = [self.prepared.read(index) for index in indices]
            if None not in found:
                return [self.transform.drawn(item) for item in found]
        return [self.transform(dict(self.data[index])) for index in indices]


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
