"""The slices near the ones that people look at, computed while nobody waits for anything."""

import logging
import os
import threading

from lib.turns import AHEAD, Turns
from samparser_monai.errors import InputError
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)
NICE = 10  # what the system is asked for: other programs, a training too, go first


class Ahead:
    """A thread that computes features and embeddings by turns, a slice at a time, after all others.

    Args:
        turns: of the network.
        most: slices about the one that was looked at last.
    """

    def __init__(self, turns: Turns, most: int) -> None:
        self.turns, self.most = turns, most
        self._wanted: tuple[VolumeSession, list[int]] | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def near(self, session: VolumeSession, k: int) -> None:
        """Begin with the slices about ``k`` of a volume; what was begun before is left."""
        slices = sorted(range(session.view.depth), key=lambda n: abs(n - k))[: self.most]
        with self._changed:
            self._wanted = session, slices
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        if hasattr(os, "setpriority"):  # of this thread alone, and those that compute for it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None)
                assert self._wanted is not None
                session, slices = self._wanted
                if not slices:
                    self._wanted = None
                    continue
                k = slices.pop(0)
            try:
                with self.turns.taken(AHEAD, "slices ahead"):
                    session.embedding(k)
            except InputError as error:  # the disk is full
                log.warning("no slices are computed ahead: %s", error)
                slices.clear()
