"""The volumes that people work on: read once, their features kept while they are open."""

import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.model import Model
from samparser_monai.errors import InputError
from samparser_monai.volumes.session import VolumeSession

log = logging.getLogger(__name__)


@dataclass
class OpenVolume:
    """A session, and the name of the tuned part that its embeddings are of."""

    session: VolumeSession
    tuned: str


class OpenVolumes:
    """The volumes used last, each under its file and that file's state.

    Args:
        model: that answers.
        most: how many stay open; each takes up to 400 MB beside its voxels.
    """

    def __init__(self, model: Model, most: int = 3) -> None:
        self.model, self.most = model, most
        self.volumes: OrderedDict[Any, OpenVolume] = OrderedDict()

    @contextmanager
    def using(self, path: str, tuned: str) -> Iterator[OpenVolume]:
        """Give the volume of a file, or of a folder of a DICOM series, to one request at a time.

        Raises:
            InputError: the file is no volume, or there is no such tuned part.
        """
        with self.model.using(tuned) as name:
            state = Path(path).stat()
            key = (path, state.st_mtime_ns, state.st_size)
            if key not in self.volumes:
                begun = time.monotonic()
                self.volumes[key] = OpenVolume(self.model.session(path), name)
                log.info("%s: read in %.1f s", path, time.monotonic() - begun)
            self.volumes.move_to_end(key)
            while len(self.volumes) > self.most:
                self.volumes.popitem(last=False)
            volume = self.volumes[key]
            if volume.tuned != name:
                volume.session.use(self.model.network)
                volume.tuned = name
            yield volume

    def forget(self, path: str) -> None:
        """Close a file's volume, in whatever state it was read."""
        for key in [key for key in list(self.volumes) if key[0] == path]:
            self.volumes.pop(key, None)


def image_path(value: Any) -> str:
    """Return the path of a request's image.

    Raises:
        InputError: there is none.
    """
    if not isinstance(value, str) or not Path(value).exists():
        raise InputError(f"image {value!r:.80} is not there: GET /datastore/?output=all lists them")
    return value
