"""Images, labels and sessions of a server, with what comes in checked before it is kept."""

import re
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.utils.sessions import Sessions

from samparser_monai.data.volumes import check_same_grid, read_oriented, read_volume
from samparser_monai.errors import InputError

NAME = re.compile(r"[\w][\w.,+@ -]{0,127}")
SESSION = re.compile(r"[0-9a-f-]{36}")


def checked_name(what: str, value: Any) -> str:
    """Return a name that stays in its folder.

    Raises:
        InputError: it might lead out of it.
    """
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise InputError(f"{what}={value!r:.80} is no plain name: letters, digits, . _ - only")
    return value


class CheckedDatastore(LocalDatastore):
    """Volumes in a folder; only volumes come in, and labels on the grid of their image."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Keep an uploaded volume."""
        if image_id:
            checked_name("image", image_id)
        read_volume(image_filename)
        return super().add_image(image_id, image_filename, image_info)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep a label volume."""
        checked_name("tag", label_tag)
        if image_id in self.list_images():  # else the datastore says so
            path = self.get_image_uri(image_id)
            image, label = read_oriented(path), read_oriented(label_filename)
            check_same_grid(image, label, image_id, "the label")
        return super().save_label(image_id, label_filename, label_tag, label_info)


class CheckedSessions(Sessions):
    """Uploaded volumes that a viewer works on for a while."""

    def get_session(self, session_id: str, *args: Any, **options: Any) -> Any:
        """Return a session; None where there is none, whatever the id looks like."""
        known = SESSION.fullmatch(session_id)
        return super().get_session(session_id, *args, **options) if known else None

    def add_session(self, data_file: str, expiry: int = 0, uncompress: bool = False) -> Any:
        """Keep an uploaded volume, or the files of a DICOM series."""
        if uncompress:
            raise InputError("uncompress is not served: send the volume, or its DICOM files")
        read_volume(Path(data_file))
        return super().add_session(data_file, expiry)
