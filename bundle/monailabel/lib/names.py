"""Names as people give them -> names of files that stay in their folder."""

import re
from pathlib import PurePath

from samparser_monai.errors import InputError

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
MOST_BYTES = 200  # of a file's name, of 255, so that endings and temporary names have room
PLAIN = re.compile(r"[\w.,+@ -]+")


def checked_name(what: str, value: object) -> str:
    """Return a name that is a file's name as it is.

    Raises:
        InputError: it is empty, too long, a path, or of other characters.
    """
    name = _one_name(what, value)
    if not PLAIN.fullmatch(name):
        raise InputError(f"{what}={name!r:.80} is no plain name: letters, digits, . _ - only")
    return name


def safe_name(what: str, value: object) -> str:
    """Return a name for a file: what cannot stand in one everywhere, a colon say, becomes ``_``.

    Raises:
        InputError: it is empty, too long, or a path.
    """
    return re.sub(r"[^\w.,+@ ()-]", "_", _one_name(what, value))


def _one_name(what: str, value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        raise InputError(f"{what}={value!r:.80} is no name: give one")
    if re.search(r"[/\\]", name) or name.startswith(".") or not name.isprintable():
        raise InputError(
            f"{what}={name!r:.80} is no plain name: it may hold no / or \\ and begin with no dot"
        )
    if len(name.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise InputError(f"{what}={name!r:.80} is too long: at most {MOST_BYTES} bytes")
    return name


def parted(file: str) -> tuple[str, str]:
    """Return a volume's name and its ending, as it is written: ``CT 1.25 mm`` and ``.nii.gz``.

    Raises:
        InputError: it has another ending.
    """
    name = PurePath(file.replace("\\", "/")).name
    for ending in VOLUMES:
        if name.lower().endswith(ending):
            return name[: -len(ending)], name[-len(ending) :]
    raise InputError(f"file {name!r:.80} is no volume: send one of {', '.join(VOLUMES)}")
