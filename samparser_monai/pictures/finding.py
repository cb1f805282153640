"""Where pictures lie: by the names that annotations give them, and by those in a folder."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from samparser_monai.errors import InputError
from samparser_monai.files import visible

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
PARTS = {"train": "train", "val": "held out", "valid": "held out", "validation": "held out"}
PARTS |= {"training": "train", "test": "held out", "testing": "held out"}
Name = tuple[str, ...]


def pictures_in(folder: str | Path, argument: str) -> dict[str, Path]:
    """Return the pictures below a folder by their paths in it, without endings, in Unicode's NFC.

    Links to folders are followed; hidden and system files are no pictures.

    Raises:
        InputError: no folder, no pictures, or two of one name.
    """
    folder = Path(str(folder))  # the command line makes a number of "2012"
    if not folder.is_dir():
        raise InputError(f"{argument}={str(folder)!r} is no folder: name one with pictures")
    found: dict[str, Path] = {}
    for path in _below(folder, ENDINGS):
        name = composed(path.relative_to(folder).with_suffix("").as_posix())
        if name in found:
            raise InputError(f"{found[name]} and {path} have one name: keep one")
        found[name] = path
    if not found:
        raise InputError(
            f"{argument}={str(folder)!r} holds no pictures: expected {', '.join(ENDINGS)}"
        )
    return found


def composed(name: str) -> str:
    """Return a name in Unicode's NFC; macOS takes its accents apart."""
    return unicodedata.normalize("NFC", name)


def json_below(folder: str | Path) -> list[Path]:
    """Return the JSON files below a folder."""
    return list(_below(Path(str(folder)), (".json",)))


def _below(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Yield files below a folder in order; a folder that links lead back to comes once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if visible(Path(name)))
        for path in map(Path, sorted(files)):
            if path.suffix.lower() in endings and visible(path):
                yield Path(root) / path


def part_of(*names: str) -> str | None:
    """Return the part of a data set, ``train`` or ``held out``, that the first names to do so name.

    ``instances_val2017`` does, ``trainval`` and ``contest`` do not.
    """
    for name in names:
        found = {PARTS[word] for word in re.findall("[a-z]+", name.lower()) if word in PARTS}
        if len(found) == 1:
            return found.pop()
    return None


def locate(names: Iterable[str], folders: Sequence[Path], part: str | None = None) -> dict:
    """Return the path of each picture; where there is none, the one that it should have.

    A picture lies under its name in one of the folders, or anywhere below where a path ends like
    its name, folders included, and no other does. Of an absolute name of another machine, whose
    beginning means nothing here, the longest end counts: a folder and the name at least, unless
    the picture lies in ``folders`` themselves. What one name tells of that beginning holds for all
    below it. Capitals in endings do not matter, nor do the spelling of ``jpeg`` and the form of
    accents. A file is the picture of one name alone.

    Args:
        names: as annotations have them, with ``/`` between folders.
        folders: to look in.
        part: of a data set; what lies in a folder named for another part is not found.
    """
    found: dict[str, Path] = {}
    for name in names:
        found[name] = next((f / name for f in folders if (f / name).is_file()), folders[0] / name)
    lost = {name: _parts(name) for name, path in found.items() if not path.is_file()}
    if not lost:
        return found
    taken = {os.path.realpath(path) for name, path in found.items() if name not in lost}
    matches = _matches(lost, folders, part)
    claims = Counter((shared, os.path.realpath(path)) for shared, path in matches.values())
    roots: dict[Name, Name] = {}  # of names -> of paths
    for name in sorted(matches, key=lambda name: -matches[name][0]):
        shared, path = matches[name]
        real, parts = os.path.realpath(path), lost[name]
        root, here = parts[:-shared], _parts(str(path.absolute()))[:-shared]
        at_odds = any(
            root[: len(known)] == known and (*place, *root[len(known) :]) != here
            for known, place in roots.items()
        )
        if real in taken or claims[shared, real] > 1 or at_odds:
            continue
        taken.add(real)
        found[name] = path
        if root:
            roots.setdefault(root, here)
    return found


def _matches(
    lost: dict[str, Name], folders: Sequence[Path], part: str | None
) -> dict[str, tuple[int, Path]]:
    """Return the path that alone ends most like a name, and in how many folders and files."""
    below: dict[str, dict[str, tuple[Name, Path]]] = defaultdict(dict)
    for folder in folders:
        for path in _below(folder, ENDINGS):
            places = path.relative_to(folder).parts[:-1]
            if part is None or part_of(*reversed(places)) in (None, part):
                parts = _parts(str(path.absolute()))
                below[parts[-1]].setdefault(os.path.realpath(path), (parts, path))
    matches = {}
    for name, parts in lost.items():
        ends = [(_shared(parts, other), path) for other, path in below[parts[-1]].values()]
        most = max((shared for shared, _ in ends), default=0)
        best = [path for shared, path in ends if shared == most]
        beside = most == 1 and best[0].parent in folders
        if len(best) == 1 and (most == len(parts) or (_foreign(name) and (most > 1 or beside))):
            matches[name] = most, best[0]
    return matches


def _parts(name: str) -> Name:
    """Return folders and file name in one spelling."""
    *folders, last = [
        part for part in composed(name).split("/") if part not in ("", ".", "..")
    ] or [""]
    stem, dot, ending = last.rpartition(".")
    return (*folders, stem + dot + ending.lower().replace("jpeg", "jpg"))


def _shared(one: Name, other: Name) -> int:
    """Return how many parts two names have in common at their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _foreign(name: str) -> bool:
    """Tell whether a name begins at the root of some machine, or with an address."""
    return re.match(r"/|[A-Za-z]:/|\w+://", name) is not None
