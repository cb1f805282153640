"""Volumes that a viewer works on for a while, outside of the datastore."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import uuid1

from monailabel.utils.sessions import SessionInfo, Sessions
from pydicom.misc import is_dicom

from lib.limits import called, check_picture
from samparser_monai.errors import InputError
from samparser_monai.files import replacing
from samparser_monai.volumes.reading import read_volume

SESSION = re.compile(r"[0-9a-f-]{36}")
COMING = ".coming_"


class CheckedSessions(Sessions):
    """Sessions, each a folder that is there whole or not at all.

    Args:
        store_path: of the folders.
        expiry: in seconds.
        unpacked: bytes that a volume may take in memory.
    """

    def __init__(self, store_path: str, expiry: int, unpacked: int) -> None:
        super().__init__(store_path, expiry)
        self.unpacked = unpacked

    def get_session(self, session_id: str, *args: Any, **options: Any) -> Any:
        """Return a session; None where there is none, whatever the id looks like."""
        known = SESSION.fullmatch(session_id)
        return super().get_session(session_id, *args, **options) if known else None

    def add_session(self, data_file: str, expiry: int = 0, uncompress: bool = False) -> Any:
        """Keep an uploaded volume, or the files of a DICOM series."""
        if uncompress:
            raise InputError("uncompress is not served: send the volume, or its DICOM files")
        source = Path(data_file)
        with called(data_file, "the session's volume"):
            if source.is_file() and not is_dicom(source):
                check_picture(source, self.unpacked)
            read_volume(source)
        name, now = str(uuid1()), int(time.time())
        coming, folder = Path(self.store_path, COMING + name), Path(self.store_path, name)
        info = SessionInfo(
            {
                **{"name": name, "path": str(folder), "image": str(folder / source.name)},
                **{"meta": {}, "create_ts": now, "last_access_ts": now},
                "expiry": min(expiry, self.expiry) if expiry > 0 else self.expiry,
            }
        )
        try:
            coming.mkdir(parents=True)
            shutil.move(source, coming / source.name)
            (coming / "meta.info").write_text(info.to_str())
            os.replace(coming, folder)
        except BaseException:
            shutil.rmtree(coming, ignore_errors=True)
            raise
        self[name] = info
        return name, info

    def remove_expired(self) -> int:
        """Remove what nobody has asked for long, and what a killed server has left half."""
        store, before = Path(self.store_path), time.time()
        for folder in store.iterdir() if store.is_dir() else []:
            if folder.name.startswith(COMING) or SESSION.fullmatch(folder.name):
                try:
                    info = self.get_session(folder.name, update_ts=False, fetch_cache=False)
                except ValueError:  # of an older server: half of what is known about it
                    info = None
                if info is None or info.last_access_ts + info.expiry < before:
                    self.pop(folder.name, None)
                    shutil.rmtree(folder, ignore_errors=True)
        return 0

    def _write_meta_info(self, session_id: str, session_info: SessionInfo) -> None:
        with replacing(Path(self.store_path, session_id, "meta.info")) as file:
            file.write_text(session_info.to_str())
