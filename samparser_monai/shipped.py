"""What ships with the package's code: configurations, the bundle's own files, the licence."""

from pathlib import Path

from samparser_monai.errors import InputError

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """Return where ``configs``, ``bundle`` or ``LICENSE`` lies.

    A wheel has it in the package, a clone and the model zoo's bundle beside the package.

    Raises:
        InputError: it is not there; a bundle does not carry what bundles are made of.
    """
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    raise InputError(
        f"{PACKAGE} has no {name!r} in it or beside it: it is a bundle's copy; install "
        "samparser-monai, or work in a clone"
    )
