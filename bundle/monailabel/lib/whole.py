"""MONAI Label's datastore, its list whole or not there at all, whoever writes at once."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import (
    DataModel,
    ImageLabelModel,
    LocalDatastore,
    LocalDatastoreModel,
)
from monailabel.interfaces.exception import ImageNotFoundException

from lib.names import VOLUMES, parted
from samparser_monai.errors import InputError
from samparser_monai.files import replacing, visible

PATTERNS = tuple(f"*{ending}" for ending in VOLUMES)


class WholeDatastore(LocalDatastore):
    """Volumes in a folder and their list; hidden, empty and other files are passed over."""

    def __init__(self, datastore_path: str, **options: Any) -> None:
        Path(datastore_path).mkdir(parents=True, exist_ok=True)
        self._threads = threading.RLock()
        self._processes = FileLock(Path(datastore_path, ".lock"), thread_local=False)
        super().__init__(datastore_path, **{"extensions": PATTERNS, **options})
        with self._alone():  # nobody else is writing now: what there is was left by a kill
            labels = Path(self._datastore.label_path(None)).rglob(".unfinished_*")
            for left in [*Path(datastore_path).glob(".unfinished_*"), *labels]:
                left.unlink(missing_ok=True)
        if handler := getattr(self, "_handler", None):
            handler.on_moved = self._on_any_event  # a rename, by which files come here

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads, and processes on the same folder, from what is done meanwhile."""
        with self._threads, self._processes:
            yield

    @contextmanager
    def _changed(self, objects: dict[str, ImageLabelModel]) -> Iterator[None]:
        """Have other objects, on disk and here, if all goes well; the list is renamed last."""
        path, before = Path(self._datastore_config_path), self._datastore
        self._datastore = before.model_copy(update={"objects": objects})
        try:
            with replacing(path) as file:
                content = self._datastore.model_dump(exclude={"base_path"})
                file.write_text(json.dumps(content, indent=2, default=str))
                yield
        except BaseException:
            self._datastore = before
            raise
        self._config_ts = _state(path)

    def _with_label(self, image_id: str, tag: str, label: DataModel | None) -> Any:
        objects = dict(self._datastore.objects)
        if image_id not in objects:
            raise ImageNotFoundException(f"Image {image_id} not found")
        labels = {t: known for t, known in objects[image_id].labels.items() if t != tag}
        labels |= {} if label is None else {tag: label}
        objects[image_id] = ImageLabelModel(image=objects[image_id].image, labels=labels)
        return self._changed(objects)

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._alone(), self._changed(self._datastore.objects):
            pass

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        path = Path(self._datastore_config_path)
        with self._alone():
            if not path.exists() or self._config_ts == _state(path):
                return
            try:
                read = LocalDatastoreModel.model_validate_json(path.read_bytes())
            except ValueError as error:
                raise InputError(
                    f"{path} is damaged: it says what the numbers of saved labels mean; bring it "
                    "back, or remove it and save those labels again"
                ) from error
            self._datastore = read.model_copy(update={"base_path": self._datastore_path})
            self._config_ts = _state(path)

    def _reconcile_datastore(self) -> None:
        with self._alone():
            super()._reconcile_datastore()

    def _remove_non_existing(self) -> int:
        """Pass over what is gone; others may be reading the list that there is."""
        before, folder = self._datastore.objects, Path(self._datastore.image_path())
        after: dict[str, ImageLabelModel] = {}
        for image, known in before.items():
            there = {
                tag: label
                for tag, label in known.labels.items()
                if Path(self._datastore.label_path(tag), image + label.ext).exists()
            }
            if (folder / (image + known.image.ext)).exists():
                after[image] = ImageLabelModel(image=known.image, labels=there)
        self._datastore = self._datastore.model_copy(update={"objects": after})
        return int(after != before)

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        found = volumes(Path(path)) if Path(path).is_dir() else []
        return {file.name: file.name for file in found}

    def _to_id(self, file: str) -> tuple[str, str]:
        return parted(file)


def volumes(folder: Path, name: str | None = None) -> list[Path]:
    """Return the volumes in a folder, or those of one name; hidden and empty files are none."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        shown = path.name.lower().endswith(VOLUMES) and visible(path)
        if shown and path.is_file() and path.stat().st_size:
            found += [path] if name in (None, parted(path.name)[0]) else []
    return found


def _state(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_ino, state.st_mtime_ns
