"""What people were answered about an image: where a further click goes on from, and undo."""

import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

MOST_ANSWERS, MOST_PEOPLE = 20, 64
Click = tuple[int, int, int, bool]
"""A voxel, and whether it is in the organ."""
Box = tuple[int, ...]


class Packed:
    """A mask, XxYxZ, in few bytes.

    Args:
        mask: bool.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.shape = mask.shape
        sides = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        self.place = tuple(slice(s[0], s[-1] + 1) if len(s) else slice(0, 0) for s in sides)
        self.inside = mask[self.place].shape
        self.bits = zlib.compress(np.packbits(mask[self.place]).tobytes(), 1)

    def mask(self) -> np.ndarray:
        """Return the mask."""
        found = np.zeros(self.shape, bool)
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        count = int(np.prod(self.inside))
        found[self.place] = np.unpackbits(bits, count=count).reshape(self.inside)
        return found


@dataclass
class Answer:
    """An organ after a request: its voxels, and the prompts of the request.

    Attributes:
        label: the organ.
        voxels: all of it, whatever the request asked for.
        box: of the request, if any.
        clicks: of the request, all.
    """

    label: str
    voxels: Packed
    box: Box | None = None
    clicks: frozenset[Click] = frozenset()


class History:
    """The last answers of each person about each image."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, deque[Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, whose: Hashable, answer: Answer) -> None:
        """Note an answer."""
        with self._lock:
            self._answers.setdefault(whose, deque(maxlen=MOST_ANSWERS)).append(answer)
            self._answers.move_to_end(whose)
            while len(self._answers) > MOST_PEOPLE:
                self._answers.popitem(last=False)

    def last(self, whose: Hashable, label: str) -> Answer | None:
        """Return the last answer about an organ."""
        return next((a for a in self._of(whose) if a.label == label), None)

    def base(
        self,
        whose: Hashable,
        label: str,
        box: Box | None,
        clicks: frozenset[Click],
        k: int | None,
    ) -> Answer | None:
        """Return the last answer that a request adds to: what it was asked, and a box or a click.

        Args:
            whose: person and image.
            label: the organ.
            box: of the request.
            clicks: of the request.
            k: the slice that it is about, None for all.
        """
        for answer in self._of(whose):
            own = frozenset(click for click in answer.clicks if k is None or click[2] == k)
            more = own < clicks or (own == clicks and box not in (None, answer.box))
            same = box is None or answer.box in (None, box)
            if answer.label == label and same and more:
                return answer
        return None

    def undo(self, whose: Hashable, label: str) -> Answer | None:
        """Forget the last answer about an organ; return the one before."""
        with self._lock:
            answers = self._answers.get(whose, deque())
            for n in reversed(range(len(answers))):
                if answers[n].label == label:
                    del answers[n]
                    break
            else:
                raise LookupError(label)
        return self.last(whose, label)

    def forget(self, image: str) -> None:
        """Forget all answers about an image."""
        with self._lock:
            for whose in [w for w in self._answers if isinstance(w, tuple) and w[-1] == image]:
                del self._answers[whose]

    def _of(self, whose: Hashable) -> list[Answer]:
        """Return a person's answers, the last one first."""
        with self._lock:
            return list(reversed(self._answers.get(whose, deque())))
