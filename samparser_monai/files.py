"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samparser_monai.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` when that has gone well.

    It is a hidden file beside ``path`` with the same ending; what a killed process leaves there is
    replaced when the same file is written again. A file has one writer at a time.

    Raises:
        DiskFull: there is no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".unfinished_{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the disk of {str(path.parent)!r} is full: free some space and run again "
            "(with --resume True where that is known), or name another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


class DiskFull(InputError):
    """No later file can be written either."""
