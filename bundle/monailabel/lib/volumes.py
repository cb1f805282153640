"""The volumes that people work on: read once, their features kept while they are open."""

import logging
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor

from lib.model import Model
from samparser_monai.errors import InputError
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)


class OpenVolume(VolumeSession):
    """A session that says in the log when it computes a slice: that is what takes the time."""

    tuned = ""
    computed = 0

    def _features(self, k: int) -> Tensor:
        begun = time.monotonic()
        features = super()._features(k)
        self.computed += 1
        log.info("slice %d: features in %.1f s", k, time.monotonic() - begun)
        return features


class OpenVolumes:
    """The volumes used last, each under its file and that file's state.

    Args:
        model: that answers.
        most: how many stay open; the features of a slice take 4 MB, of a volume 200 MB at most.
        slices: whose features a volume keeps.
    """

    def __init__(self, model: Model, most: int = 3, slices: int = 48) -> None:
        self.model, self.most, self.slices = model, most, slices
        self.volumes: OrderedDict[Any, OpenVolume] = OrderedDict()

    def session(self, path: str, tuned: str) -> OpenVolume:
        """Return the session of a volume's file, or folder of a DICOM series.

        Raises:
            InputError: the file is no volume, or there is no such tuned part.
        """
        tuned = self.model.use(tuned)
        state = Path(path).stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self.volumes:
            read, engine = self.model.road
            begun = time.monotonic()
            volume = read({"image": path})["image"]
            log.info("%s: read in %.1f s", path, time.monotonic() - begun)
            self.volumes[key] = OpenVolume(
                volume,
                self.model.network,
                engine.backbone,
                engine.labels,
                engine.plane,
                self.slices,
            )
        self.volumes.move_to_end(key)
        while len(self.volumes) > self.most:
            self.volumes.popitem(last=False)
        session = self.volumes[key]
        if session.tuned != tuned:
            session.use(self.model.network)
            session.tuned = tuned
        return session

    def forget(self, path: str) -> None:
        """Close a file's volume, in whatever state it was read."""
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
