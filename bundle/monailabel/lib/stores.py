"""Images and labels of a server: checked before they are kept, and whole or not there at all."""

import hashlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from lib.agreement import Segments, agreed, segments_in
from lib.labels import read_label, segments_of, told, voxels_of
from lib.limits import Taken, called, check_picture, check_size
from lib.names import checked_name, parted, safe_name
from lib.whole import WholeDatastore, volumes
from samparser_monai.errors import InputError
from samparser_monai.files import replacing
from samparser_monai.volumes.grids import check_same_grid
from samparser_monai.volumes.reading import read_oriented, read_volume

log = logging.getLogger(__name__)
PLAIN = re.compile(r"[^\w.@-]")  # what no tag has


class CheckedDatastore(WholeDatastore):
    """Volumes in a folder; only volumes come in, and labels on the grid of their image.

    What a viewer says about a label (``label_info``) is what its numbers mean. It lies under
    ``labels/<tag>/.info/<image>``, in a file named by the label file's own hash, written first: so
    it is true of the label that is there, whenever the server may have been killed.

    Attributes:
        labels: of the model, for what is told of a label.
        unpacked: bytes that a volume may take in memory.
        forget: called with an image, and whether it goes itself, before it or a label of it is
            removed.
        told: what was told of the label that this thread has saved last.
    """

    def __init__(self, datastore_path: str, **options: Any) -> None:
        self.labels: Mapping[str, Any] = {}
        self.unpacked = 4 * 10**9
        self.forget: Callable[[str, bool], None] = lambda image, gone: None
        self._told = threading.local()
        super().__init__(datastore_path, **options)

    @property
    def told(self) -> dict[str, Any]:  # noqa: D102
        return getattr(self._told, "last", {})

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Keep an uploaded volume under a safe name; the one that it was given is noted.

        Raises:
            Taken: there is one of that name.
        """
        stem, ending = parted(image_filename)
        given = image_id or stem
        name = safe_name("image", given)
        if not isinstance(image_info, Mapping):
            raise InputError(f"params={image_info!r:.80} must be an object")
        with called(image_filename, f"image {name!r}"):
            check_picture(image_filename, self.unpacked)
            read_volume(image_filename)
        info = {**image_info, "given": given, "ts": int(time.time()), "name": name + ending}
        with self._alone():
            self._init_from_datastore_file()
            folder = Path(self._datastore.image_path())
            if volumes(folder, name):
                raise Taken(f"image {name!r} is there already: delete it first, or name it anew")
            added = ImageLabelModel(image=DataModel(info=info, ext=ending))
            objects = {**self._datastore.objects, name: added}
            with self._changed(objects), replacing(folder / (name + ending)) as file:
                shutil.copyfile(image_filename, file)
        return name

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label volume, in place of the one before; one of another person moves aside.

        That is kept under the tag ``<tag>_<person>``; how any two labels of an image agree is told
        beside both, as ``agreement``.
        """
        tag = checked_name("tag", label_tag)
        ending = parted(label_filename)[1]
        label = self.checked_label(image_id, label_filename, label_info)
        self._move_aside(image_id, tag, label_info.get("by"))
        name = image_id + ending
        info = {**label_info, "ts": int(time.time()), "name": name}
        with self._alone():
            self._init_from_datastore_file()
            folder, digest = Path(self._datastore.label_path(tag)), _digest(Path(label_filename))
            notes = folder / ".info" / image_id
            with (
                self._with_label(image_id, tag, DataModel(info=info, ext=ending)),
                replacing(folder / name) as file,
                replacing(notes / f"{digest}.json") as note,
            ):
                shutil.copyfile(label_filename, file)
                note.write_text(json.dumps({"info": info, "voxels": voxels_of(label)}))
            for path in volumes(folder, image_id):
                if path.name != name:
                    path.unlink()
            for path in notes.iterdir():
                if path.name != f"{digest}.json":
                    path.unlink()
        self._told.last = told(voxels_of(label), info, self.labels)
        if left_out := self.told["left_out"]:
            log.warning("%s: the model does not know %s", image_id, left_out)
        self._compare(image_id, tag)
        return image_id

    def _move_aside(self, image_id: str, tag: str, by: str | None) -> None:
        """Keep the label of another person under a tag of theirs."""
        if self._datastore.label(image_id, tag) is None:
            return
        info = self.get_label_info(image_id, tag)
        before = info.get("by")
        if by and before and by != before:
            path, aside = self._datastore.label_path(tag), f"{tag}_{PLAIN.sub('_', before)[:80]}"
            known = self._datastore.label(image_id, tag)
            CheckedDatastore.save_label(
                self, image_id, str(Path(path, image_id + known.ext)), aside, info
            )

    def _compare(self, image_id: str, tag: str) -> None:
        """Note how a label agrees with each other one of its image, beside both."""
        others = sorted(self.get_labels_by_image_id(image_id).keys() - {tag})
        segments = self._segments(image_id, tag) if others else {}
        mine, told_of_others = self.get_label_info(image_id, tag).get("by"), {}
        for other in others:
            try:
                dsc = agreed(segments, self._segments(image_id, other))
                info = self.get_label_info(image_id, other)
                agreement = {**info.get("agreement", {}), tag: {"by": mine, "dsc": dsc}}
                self.update_label_info(image_id, other, {"agreement": agreement})
            except InputError as error:  # it was changed outside of the server
                log.warning("%s is not compared: %s", other, error)
            else:
                told_of_others[other] = {"by": info.get("by"), "dsc": dsc}
        if others:
            self.update_label_info(image_id, tag, {"agreement": told_of_others})

    def _segments(self, image_id: str, tag: str) -> Segments:
        known = self._datastore.label(image_id, tag)
        file = Path(self._datastore.label_path(tag), image_id + known.ext)
        return segments_in(str(file), self.get_label_info(image_id, tag), self.labels)

    def checked_label(self, image_id: str, file: str, info: Any) -> MetaTensor:
        """Return a label that comes in, along LPS.

        Raises:
            InputError: it is no label, does not lie on its image, or ``info`` has another shape.
        """
        parted(file)
        segments_of(info)
        if image_id not in self.list_images():
            raise ImageNotFoundException(f"Image {image_id} not found")
        with called(file, "the label"):
            check_size(file, self.unpacked)
            label = read_label(file, "the label")
        check_same_grid(read_oriented(self.get_image_uri(image_id)), label, image_id, "the label")
        return label

    def noted(self, image_id: str, tag: str) -> dict[str, Any]:
        """Return {info, voxels} of the label that is there.

        Raises:
            InputError: it was changed outside of the server, or is no label.
        """
        label = self._datastore.label(image_id, tag)
        if label is None:
            raise LabelNotFoundException(f"Label: {image_id} Tag: {tag} not found")
        folder = Path(self._datastore.label_path(tag))
        file, notes = folder / (image_id + label.ext), folder / ".info" / image_id
        note = notes / f"{_digest(file)}.json"
        if note.exists():
            content = json.loads(note.read_text())
            return {**content, "voxels": {int(v): n for v, n in content["voxels"].items()}}
        if notes.is_dir() and any(notes.glob("*.json")):
            raise InputError(
                f"{file} was changed outside of the server, so what its numbers mean is not "
                "known: save it from the viewer, or delete the label and put the file there anew"
            )
        return {"info": label.info, "voxels": voxels_of(read_label(str(file), str(file)))}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what was saved beside a label; nothing where there is none."""
        known = self._datastore.label(label_id, label_tag)
        return dict(self.noted(label_id, label_tag)["info"]) if known else {}

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Change what was saved beside a label."""
        segments_of(info)
        note = self.noted(label_id, label_tag)
        with self._alone():
            self._init_from_datastore_file()
            label = self._datastore.objects[label_id].labels[label_tag]
            note["info"] = {**note["info"], **info}
            folder = Path(self._datastore.label_path(label_tag))
            digest = _digest(folder / (label_id + label.ext))
            with (
                self._with_label(label_id, label_tag, DataModel(info=note["info"], ext=label.ext)),
                replacing(folder / ".info" / label_id / f"{digest}.json") as file,
            ):
                file.write_text(json.dumps(note))

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Change what is noted beside an image."""
        if not isinstance(info, Mapping):
            raise InputError(f"info={info!r:.80} must be an object")
        with self._alone():
            self._init_from_datastore_file()
            super().update_image_info(image_id, dict(info))

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label: each file of its name, and what trainings have made of it."""
        if not self._datastore.label(label_id, label_tag):
            raise LabelNotFoundException(f"Label: {label_id} Tag: {label_tag} not found")
        self.forget(label_id, False)
        with self._alone():
            self._init_from_datastore_file()
            self._remove_label_files(label_id, label_tag)
            with self._with_label(label_id, label_tag, None):
                pass
        for other in self.get_labels_by_image_id(label_id):
            agreement = dict(self.get_label_info(label_id, other).get("agreement", {}))
            if agreement.pop(label_tag, None):
                self.update_label_info(label_id, other, {"agreement": agreement})

    def remove_image(self, image_id: str) -> None:
        """Remove an image, its labels of all tags, and what was made of them."""
        if image_id not in self._datastore.objects:
            raise ImageNotFoundException(f"Image {image_id} not found")
        self.forget(image_id, True)
        with self._alone():
            self._init_from_datastore_file()
            for folder in Path(self._datastore.label_path(None)).iterdir():
                if folder.is_dir():
                    self._remove_label_files(image_id, folder.name)
            for path in volumes(Path(self._datastore.image_path()), image_id):
                path.unlink()
            left = {k: v for k, v in self._datastore.objects.items() if k != image_id}
            with self._changed(left):
                pass

    def _remove_label_files(self, label_id: str, tag: str) -> None:
        folder = Path(self._datastore.label_path(tag))
        for path in volumes(folder, label_id):
            path.unlink()
        shutil.rmtree(folder / ".info" / label_id, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
