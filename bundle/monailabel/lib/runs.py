"""The folders of trainings: one training at a time, and none that outlives its server.

``eval/label/<time>`` has a training's copies of the labels, and while it runs its checkpoints and
slices; ``eval/label/features`` what the trunk computed of the images.
"""

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from lib.limits import Taken
from lib.processes import end, running, this_process
from samparser_monai.errors import InputError
from samparser_monai.files import write_json

log = logging.getLogger(__name__)
SERVER = "SAMPARSER_LABEL_SERVER"
"""Environment variable by which a training knows its server."""
SIDES = ("train", "validation")


class Runs:
    """What trainings of one bundle leave on disk.

    Args:
        bundle: its folder.
    """

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle / "eval" / "label"
        self.features = self.folder / "features"
        self._note = self.folder / "running.json"

    def started(self) -> dict[str, Any]:
        """Return the note about the training that was started last and has not ended well."""
        try:
            return dict(json.loads(self._note.read_text()))
        except (OSError, ValueError):
            return {}

    def busy(self) -> bool:
        """Tell whether a training runs."""
        return running(self.started().get("process")) is not None

    def progress(self, epoch: int, of: int) -> None:
        """Note how far the training of this process has come."""
        if note := self.started():
            write_json(self._note, {**note, "epoch": epoch, "total_epochs": of})

    def clear(self) -> None:
        """End a training whose server is gone, and remove what one that was killed has left."""
        note = self.started()
        process = running(note.get("process"))
        if process and running(note.get("server")):
            return
        if process:
            log.warning("ending the training %d: the server that started it is gone", process.pid)
            end(process)
        if note:
            shutil.rmtree(self.folder / Path(note.get("work", "none")).name, ignore_errors=True)
            self._note.unlink(missing_ok=True)

    def stopped(self) -> None:
        """Clear up behind a training that was killed just now."""
        if process := running(self.started().get("process")):
            psutil.wait_procs([process], 10)
        self.clear()

    @contextmanager
    def begin(self) -> Iterator[Path]:
        """Give a training its folder; what only it needs is removed at its end.

        Raises:
            Taken: another is running.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        server = json.loads(os.environ.get(SERVER, "null"))
        if server and not running(server):
            raise InputError("the server that asked for this training is gone")
        with FileLock(self.folder / ".lock"):
            self.clear()
            if self.busy():
                raise Taken(f"a training is running ({self.started()}): wait for it, or stop it")
            work = self.folder / f"{time.strftime('%Y%m%d_%H%M%S')}_{os.getpid()}"
            process = this_process()
            write_json(
                self._note,
                {"process": process, "server": server or process, "work": work.name},
            )
        try:
            work.mkdir()
            yield work
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        finally:
            for passing in ("models", "slices"):
                shutil.rmtree(work / passing, ignore_errors=True)
            self._note.unlink(missing_ok=True)

    def forget(self, case: str, image: bool) -> None:
        """Remove what trainings have made of a case's label; where its image goes too, features.

        Raises:
            Taken: a training is running, and may be using them.
        """
        if self.busy():
            raise Taken("a training is running, perhaps on this: wait for it, or stop it")
        self.clear()
        copy = re.compile(rf"({'|'.join(SIDES)})_{re.escape(case)}(\.\d+)?\.nii\.gz")
        for labels in list(self.folder.glob("*/labels")):
            if any(copy.fullmatch(path.name) for path in labels.iterdir()):
                shutil.rmtree(labels.parent, ignore_errors=True)
        if image:
            shutil.rmtree(self.features, ignore_errors=True)
