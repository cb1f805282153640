"""Files that are there whole or not at all, and never one that a user gave."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError, Unfinished


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` when that has gone well.

    It is a hidden file beside ``path`` with the same ending; what a killed process leaves there is
    replaced when the same file is written again. A file has one writer at a time in a process.

    Raises:
        DiskFull: there is no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rank = os.environ.get("RANK", "")  # processes of one run may write the same tables
    temporary = path.with_name(f".unfinished_{rank}{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a machine that loses its power may keep the name alone
        os.replace(temporary, path)
    except Exception as error:
        if not is_full(error, path.parent):
            raise
        raise DiskFull(
            f"the disk of {str(path.parent)!r} is full: free some space and run again "
            "(with --resume True where that is known), or name another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


_held: dict[str, int] = {}


def hold(folder: Path) -> None:
    """Keep a folder for this process until it is let go of, or the process ends.

    Of several processes of one run the first holds it. Where the disk knows no locks nothing is
    held.

    Raises:
        InputError: another process holds it.
    """
    name = str(folder.resolve())
    if os.environ.get("RANK", "0") != "0" or name in _held:
        return
    try:
        import fcntl
    except ImportError:  # Windows
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise InputError(
            f"another run writes to {str(folder)!r}: wait for its end, or name another folder"
        ) from error
    except OSError:  # a network's disk, some of them
        os.close(handle)
        return
    _held[name] = handle


def let_go(folder: Path) -> None:
    """Let another process have a folder, see hold."""
    if (handle := _held.pop(str(folder.resolve()), None)) is not None:
        os.close(handle)


SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "lost+found"}
"""What operating systems leave between people's files; names are compared in lower case."""


def visible(path: Path) -> bool:
    """Tell whether a file or folder is one of the user's, by its name alone.

    Hidden ones (``._x``, ``.DS_Store``, ``.thumbnails``) and the system's (``@eaDir``,
    ``#recycle``, ``Thumbs.db``, ``__MACOSX``) are not. What lies in such a folder is hidden too,
    but that is for the caller, who knows where the user's folder begins.
    """
    name = path.name.lower()
    return not (name.startswith((".", "@eadir", "#recycle", "#snapshot")) or name in SYSTEM)


def is_full(error: BaseException, folder: Path) -> bool:
    """Return whether an error is that of a full disk, also where a library has but its text."""
    cause: BaseException | None = error
    while cause is not None:
        if any(
            getattr(cause, "errno", None) == code or os.strerror(code) in str(cause)
            for code in (errno.ENOSPC, errno.EDQUOT)
        ):
            return True
        cause = cause.__cause__ or cause.__context__
    # torch does not say it; the unfinished file is there still
    return not isinstance(error, InputError) and shutil.disk_usage(folder).free < _NOTHING


_NOTHING = 2**16  # bytes


def ends_with(path: Path, endings: tuple[str, ...]) -> bool:
    """Tell whether a name has one of these endings (lower case), in whichever case it is."""
    return path.name.lower().endswith(endings)


def files_below(folder: Path) -> list[Path]:
    """Return the visible files below a folder, sorted; links to folders are followed, once each."""
    found, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(here))
        paths = [Path(here, name) for name in folders]
        folders[:] = [p.name for p in paths if visible(p) and os.path.realpath(p) not in seen]
        found += [path for path in (Path(here, name) for name in names) if visible(path)]
    return sorted(found)


class DiskFull(Unfinished):
    """No later file can be written either."""


def read_json(path: str | Path, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        path: of the file.
        hook: ``object_pairs_hook`` of :func:`json.loads`.

    Raises:
        InputError: the file cannot be opened, is in another encoding, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes(), object_pairs_hook=hook)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): correct the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not in UTF-8 (byte {error.object[error.start]:#x} at {error.start}): "
            "save it as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON ({error}): correct it") from error


def keep_apart(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Raise an InputError where what is written could fall on what is read.

    Args:
        outputs: the folders that are written to, each under the argument that names it.
        inputs: the files and folders that are read, or lists of them; None, and what does not
            exist, is passed over.

    A folder of outputs may not be a folder of inputs, nor lie in one or above one; of an input
    that is a file it may not be, nor lie above, the folder that holds it.
    """
    for argument, output in outputs.items():
        target = Path(output).resolve()
        for name, given in _each(inputs):
            if given is None or not (source := Path(given).resolve()).exists():
                continue
            if source.is_relative_to(target) or (source.is_dir() and target.is_relative_to(source)):
                raise InputError(
                    f"{argument}={str(output)!r} is, holds or lies in {name}={str(given)!r}, which "
                    "is read and must not be written to: name another folder"
                )


def _each(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, given in inputs.items():
        for one in given if isinstance(given, list | tuple) else [given]:
            yield name, one


def one_of_each_folder(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a file of each folder that the images and labels of items lie in, for keep_apart."""
    found = {
        (key, os.path.dirname(item[key])): item[key]
        for item in items
        for key in ("image", "label")
        if isinstance(item.get(key), str)
    }
    return {f"{key} ({folder})": path for (key, folder), path in found.items()}


def keep_checkpoint(checkpoint: str | Path | None, ckpt_dir: str | Path) -> None:
    """Raise an InputError where a training's base would be replaced by what it saves.

    The base may lie in ``ckpt_dir``, as a bundle's does, under a name that no training writes.
    """
    if checkpoint is None:
        return
    base = Path(checkpoint).resolve()
    written = ("model.pt", "tuned.safetensors", "checkpoint_epoch=*.pt")
    if base.parent == Path(ckpt_dir).resolve() and any(map(base.match, written)):
        raise InputError(
            f"checkpoint={str(checkpoint)!r} would be replaced by what the training writes to "
            f"ckpt_dir={str(ckpt_dir)!r}: name another ckpt_dir"
        )


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file under a temporary name, then rename it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n")


def sockets_fit() -> bool:
    """Whether processes can listen to each other by sockets in the temporary folder.

    Such a socket's path may have 107 bytes (unix(7)), of which Python's own names take 32.
    """
    return len(os.fsencode(tempfile.gettempdir())) <= 75
