"""The volumes that people work on: read once, their features kept while they are open."""

import logging
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from lib.ahead import Ahead
from lib.history import History
from lib.model import KEPT, Model
from samparser_monai.errors import InputError
from samparser_monai.sam import SamNetwork
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)
MOST_SESSIONS = 2  # of one volume, with tuned parts whose embeddings are kept


class OpenVolume:
    """One volume, read when it is first asked for, and a session with each tuned part."""

    def __init__(self, path: str) -> None:
        self.path, self.reading = path, threading.Lock()
        self.sessions: OrderedDict[SamNetwork, VolumeSession] = OrderedDict()


class OpenVolumes:
    """The volumes used last, each under its file and that file's state.

    Args:
        model: that answers.
        most: how many stay open; each takes up to 400 MB beside its voxels.
    """

    def __init__(self, model: Model, most: int = 3) -> None:
        self.model, self.most, self.history = model, most, History()
        self.volumes: OrderedDict[Any, OpenVolume] = OrderedDict()
        self.ahead = Ahead(model.turns, KEPT)
        self._listing = threading.Lock()

    def session(self, path: str, tuned: str) -> tuple[VolumeSession, str]:
        """Return a session of one request's own, and the own name of its tuned part.

        What was computed of the volume's slices is common to all sessions on it, so they are asked
        by turns, see ``lib.turns``.

        Args:
            path: of a file, or of a folder of a DICOM series.
            tuned: part, perhaps ``latest``.

        Raises:
            InputError: the file is no volume, or there is no such tuned part.
        """
        name = self.model.versions.resolve(tuned)
        network, state = self.model.network(name), Path(path).stat()
        key = (path, state.st_mtime_ns, state.st_size)
        with self._listing:
            volume = self.volumes.setdefault(key, OpenVolume(path))
            self.volumes.move_to_end(key)
            while len(self.volumes) > self.most:
                self.volumes.popitem(last=False)
        with volume.reading:
            if not volume.sessions:
                begun = time.monotonic()
                session = self.model.session(path)
                volume.sessions[session.network] = session
                log.info("%s: read in %.1f s", path, time.monotonic() - begun)
            if network not in volume.sessions:
                first = next(iter(volume.sessions.values()))
                volume.sessions[network] = first.beside(network)
            volume.sessions.move_to_end(network)
            while len(volume.sessions) > MOST_SESSIONS:
                volume.sessions.popitem(last=False)
            return volume.sessions[network].beside(), name

    def forget(self, path: str) -> None:
        """Close a file's volume, in whatever state it was read, and forget what was answered."""
        self.history.forget(path)
        with self._listing:
            for key in [key for key in self.volumes if key[0] == path]:
                del self.volumes[key]


def image_path(value: Any) -> str:
    """Return the path of a request's image.

    Raises:
        InputError: there is none.
    """
    if not isinstance(value, str) or not Path(value).exists():
        raise InputError(f"image {value!r:.80} is not there: GET /datastore/?output=all lists them")
    return value
