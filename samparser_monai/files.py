"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samparser_monai.errors import InputError

UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` when that has gone well.

    It lies in a hidden folder beside ``path``; what a killed process leaves there is replaced
    when the same file is written again.

    Raises:
        DiskFull: there is no space left.
    """
    folder = path.parent / UNFINISHED
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / path.name
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the disk of {str(path.parent)!r} is full: free some space and go on with "
            "--resume True, or name another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # another process is writing too
            folder.rmdir()


class DiskFull(InputError):
    """No later file can be written either."""
