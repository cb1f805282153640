"""How large a volume may be: told from its header and its stream, before anything reads it whole.

A few kilobytes of gzip can hold gigabytes of zeros.
"""

import bz2
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import nrrd
import SimpleITK as sitk

from lib.names import parted
from samparser_monai.errors import InputError

CHUNK = 1 << 20
SMALL, RATIO = 10**8, 200
"""A picture of at most ``SMALL`` bytes is taken; a larger one shows something: packed it is no less
than its ``RATIO``-th part (of real CT, a half to a tenth)."""
FLOAT32, WIDEST = 4, 8  # bytes of a voxel in memory, and at most in a file


def check_size(path: str | Path, most: int) -> None:
    """Raise an InputError for a volume that takes more than ``most`` bytes in memory.

    Also for one whose numbers lie in another file, which would be read from this machine. What is
    damaged is left to the reader to tell.
    """
    ending = parted(str(path))[1].lower()
    try:
        if ending in (".nii", ".nii.gz"):
            _check_nifti(Path(path), most)
        else:
            _check_header(Path(path), most)
    except InputError:
        raise
    except Exception:  # in a damaged file anything can go wrong
        return


def check_picture(path: str | Path, most: int) -> None:
    """Raise an InputError for an image that is too large, or that a small file unpacks to."""
    packed = Path(path).stat().st_size
    limit = min(most, max(SMALL, RATIO * packed))
    try:
        check_size(path, limit)
    except TooLarge as error:
        if limit == most:
            raise
        raise TooLarge(
            f"a file of {packed / 1e6:.1f} MB that unpacks to more than {RATIO} times as much is "
            "no picture: send the volume itself"
        ) from error


def _check_nifti(path: Path, most: int) -> None:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        head = file.read(540)
        two = 540 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
        kind, size = (nib.Nifti2Header, 540) if two else (nib.Nifti1Header, 348)
        header = kind(head[:size], check=False)
        _refuse(math.prod(header.get_data_shape()) * FLOAT32, most)
        _refuse(float(header["vox_offset"]), most)
        _count(iter(lambda: file.read(CHUNK), b""), most)


def _check_header(path: Path, most: int) -> None:
    if path.suffix.lower() == ".nrrd":
        with path.open("rb") as file:
            header = nrrd.read_header(file)
            if "data file" in header or "datafile" in header:
                raise InputError("the volume's numbers lie in another file: send one file")
            _refuse(math.prod(map(int, header["sizes"])) * FLOAT32, most)
            _count(_unpacked(file, header["encoding"]), most)
        return
    with path.open("rb") as file:
        own = b"ElementDataFile = LOCAL" in file.read(CHUNK)
    if not own:
        raise InputError("the volume's numbers lie in another file: send one file")
    reader = sitk.ImageFileReader()  # ITK unpacks no more than the header says
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _refuse(math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * FLOAT32, most)


def _unpacked(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    if encoding in ("gz", "gzip"):
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while chunk := file.read(CHUNK):
            while chunk:
                yield unpack.decompress(chunk, CHUNK)
                chunk = unpack.unconsumed_tail
    elif encoding in ("bz2", "bzip2"):
        with bz2.open(file) as stream:
            yield from iter(lambda: stream.read(CHUNK), b"")


def _count(chunks: Iterable[bytes], most: int) -> None:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        _refuse(total * FLOAT32 / WIDEST, most)


def _refuse(size: float, most: int) -> None:
    if not size <= most:
        raise TooLarge(
            f"the volume takes more than {most / 1e9:g} GB unpacked: send a smaller one, or start "
            "the server with --conf unpacked_gb N"
        )


class TooLarge(InputError):
    """More than the server takes."""


class Taken(InputError):
    """What is there already, or in use, and stays."""


def number(conf: Mapping[str, Any], name: str, default: float, least: float = 1e-6) -> float:
    """Return an option of ``--conf``.

    Raises:
        InputError: it is no finite number of at least ``least``.
    """
    given = conf.get(name, default)
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise InputError(f"--conf {name} {given!r:.80} must be a number of at least {least:g}")
    return value


def yes(conf: Mapping[str, Any], name: str) -> bool:
    """Return an option of ``--conf`` that is true or false, and false where it is not given.

    Raises:
        InputError: it is neither.
    """
    given = str(conf.get(name, "false")).lower()
    if given not in ("true", "false"):
        raise InputError(f"--conf {name} {given!r:.80} must be true or false")
    return given == "true"


@contextmanager
def called(path: str, name: str) -> Iterator[None]:
    """Let errors about a temporary file tell what it is."""
    try:
        yield
    except InputError as error:
        raise type(error)(str(error).replace(path, name)) from error
