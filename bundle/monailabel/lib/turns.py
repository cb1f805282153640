"""Whose turn it is to compute: one request at a time, another at each slice, or within it."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)
CLICK, VOLUME, BATCH, AHEAD = range(4)
"""Who goes first, where several wait."""
TOLD = 5.0  # seconds between two lines of the log about one request
PATIENCE, SHARE = 2.0, 0.6  # seconds that a volume waits for clicks, and then computes before them
LEFT: ContextVar[Callable[[], bool]] = ContextVar("left", default=lambda: False)
"""Tells whether the client that the current request came from has gone."""


class Gone(Exception):
    """A client that has gone, whose request nobody waits for."""


class Turns:
    """Let the requests of several threads compute by turns.

    What they share (a network, what is kept of a volume) is used by one of them at a time, and
    goes on to another within the network only, so it needs no locks of its own.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._taken = False
        self._numbers = itertools.count()
        self._own = threading.local()

    @contextmanager
    def taken(self, rank: int, what: str) -> Iterator[None]:
        """Compute while it is this request's turn, from its first to its last slice.

        Args:
            rank: CLICK goes before VOLUME, that before BATCH, and AHEAD after all.
            what: is computed, for the log.

        Raises:
            Gone: its client has left.
        """
        self._wait(rank)
        self._own.rank, self._own.what = rank, what
        self._own.answers, self._own.told = 0, time.monotonic()
        try:
            yield
        finally:
            self._own.rank = None
            self._give()

    def next(self, answers: int = 1) -> None:
        """Let others compute, if some wait that do not have to wait for this request.

        Args:
            answers: of the network, for the log.

        Raises:
            Gone: its client has left.
        """
        rank = getattr(self._own, "rank", None)
        if rank is None:  # asked without a turn, by a test or a tool
            return
        if LEFT.get()():
            raise Gone(f"{self._own.what}: the client has left, after {self._own.answers} answers")
        self._own.answers += answers
        if (now := time.monotonic()) - self._own.told > TOLD:
            self._own.told = now
            log.info("%s: the network has answered %d times", self._own.what, self._own.answers)
        if now >= self._own.until and self._waiting and self._waiting[0][0] <= rank:
            self._give()
            self._wait(rank, leaving=False)

    def _wait(self, rank: int, leaving: bool = True) -> None:
        left, begun = LEFT.get(), time.monotonic()
        with self._changed:
            ticket = rank, next(self._numbers)
            heapq.heappush(self._waiting, ticket)
            while self._taken or self._waiting[0] != ticket:
                self._changed.wait(0.5)
                if leaving and left():
                    self._withdraw(ticket)
                    raise Gone("the client has left before its turn")
                if ticket[0] in (VOLUME, BATCH) and time.monotonic() - begun > PATIENCE:
                    self._withdraw(ticket)
                    ticket = CLICK, ticket[1]
                    heapq.heappush(self._waiting, ticket)
            heapq.heappop(self._waiting)
            self._taken = True
        patient = rank != CLICK and ticket[0] == CLICK
        self._own.until = time.monotonic() + SHARE if patient else 0.0

    def _withdraw(self, ticket: tuple[int, int]) -> None:
        self._waiting.remove(ticket)
        heapq.heapify(self._waiting)
        self._changed.notify_all()

    def _give(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()
