"""What was computed of slices: the latest in memory, and of features the others in a file."""

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import IO

import torch
from torch import Tensor

from samparser_monai.errors import InputError


class Kept(OrderedDict[int, Tensor]):
    """What was computed of slices; the least recently used go.

    functools.lru_cache on a method would hold the session that holds it, and gigabytes with it
    until the garbage collector comes.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def of(self, k: int, compute: Callable[[int], Tensor]) -> Tensor:
        """Return what is kept of slice ``k``, computed where nothing is."""
        found = self[k] if k in self else compute(k)  # meanwhile others may ask, of this slice too
        self.keep(k, found)
        return found

    def keep(self, k: int, computed: Tensor) -> None:
        """Keep what was computed of slice ``k``."""
        self[k] = computed
        self.move_to_end(k)
        while len(self) > self.most:
            self.dropped(*self.popitem(last=False))

    def dropped(self, k: int, computed: Tensor) -> None:
        """Let go what was kept of slice ``k``."""


class KeptForGood(Kept):
    """The same, but what goes from memory goes to a file without a name, and comes back from it."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._file: IO[bytes] | None = None
        self._places: dict[int, int] = {}

    def has(self, k: int) -> bool:
        """Tell whether slice ``k`` is in memory or in the file."""
        return k in self or k in self._places

    def back(self, k: int) -> Tensor:
        """Return what is kept of slice ``k``."""
        return self.of(k, self._read)

    def dropped(self, k: int, computed: Tensor) -> None:
        """Write it to the file, once.

        Raises:
            InputError: the disk is full.
        """
        if k in self._places:
            return
        self._like = computed[:0]
        values = computed.cpu().contiguous().view(torch.uint8).numpy()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()
            self._file.seek(len(self._places) * values.nbytes)
            self._file.write(values.data)
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"the features of slices have no room in {tempfile.gettempdir()} "
                f"({error.strerror}): free some space, or set TMPDIR to a folder on another disk"
            ) from error
        self._shape = computed.shape
        self._places[k] = len(self._places)

    def _read(self, k: int) -> Tensor:
        assert self._file is not None
        size = self._shape.numel() * self._like.itemsize
        self._file.seek(self._places[k] * size)
        values = torch.frombuffer(bytearray(self._file.read(size)), dtype=self._like.dtype)
        return values.view(self._shape).to(self._like.device)
