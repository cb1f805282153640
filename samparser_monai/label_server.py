"""MONAI Label's server over a bundle, in the environment of its own that it needs.

MONAI Label asks for numpy 1 and pydicom 2, which this package cannot share.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from samparser_monai.errors import InputError, Unfinished
from samparser_monai.fetch import cache_dir
from samparser_monai.shipped import shipped

PREFIX, DONE = "label_server_", "installed"


def environments(folder: Path) -> list[Path]:
    """Return the server's environments in the cache folder."""
    return sorted(folder.glob(f"{PREFIX}*"))


def python_of_server() -> Path:
    """Return the Python of the server's environment, which is made where there is none.

    Raises:
        InputError: this Python is not one that MONAI Label's packages are pinned for.
        Unfinished: its packages cannot be had.
    """
    needed = shipped("bundle") / "monailabel" / "requirements.txt"
    digest = hashlib.sha256(needed.read_bytes()).hexdigest()[:8]
    folder = cache_dir() / f"{PREFIX}{digest}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (folder / DONE).exists():
        return python
    if sys.version_info[:2] != (3, 11):
        here = sys.version.split()[0]
        raise InputError(
            f"MONAI Label's packages are pinned for Python 3.11, and this is {here}"
            f": make an environment of 3.11, `pip install --no-deps -r {needed}` there, and name "
            "its Python by --python"
        )
    print(f"installing MONAI Label once, into {folder}: some minutes, 6 GB", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "-r", str(needed)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unfinished(
            f"MONAI Label cannot be installed ({error}): see above; run again when the package "
            "index can be reached, or name an environment that has it by --python"
        ) from error
    (folder / DONE).touch()
    return python
