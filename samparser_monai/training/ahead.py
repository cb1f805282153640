"""What is made ahead of its use, by threads.

A picture as a network takes it has 12 MB: from one process to another it costs more than it did to
make. Reading, unpacking, hashing and torch let other threads go on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

S = TypeVar("S")
T = TypeVar("T")


def made_ahead(make: Callable[[S], T], wanted: Iterable[S], threads: int) -> Iterator[T]:
    """Make one after the other, in order, some of them ahead.

    Args:
        make: of what is wanted; several threads call it.
        wanted: of which each is made once.
        threads: that make; without any it is done when its turn comes.
    """
    if not threads:
        yield from map(make, wanted)
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    coming = deque[Future[T]]()
    try:
        for one in wanted:
            coming.append(pool.submit(make, one))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


class AheadLoader(DataLoader):
    """A loader that makes the next batch in a thread while one is used.

    MONAI's ThreadDataLoader does too, but what goes wrong in its thread ends it without a word.
    """

    def __iter__(self) -> Any:
        """Give the batches in order."""
        batches = super().__iter__()
        return made_ahead(lambda _: next(batches), range(len(self)), 1)
