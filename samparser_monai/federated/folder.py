"""A machine's own part of a federation: the folder that an environment variable names."""

import os
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import read_json

FOLDER = "SAMPARSER_FEDERATION"
"""Environment variable: the folder of a machine's own settings, ``<site>.json``; on the server of
``start.safetensors``, ``tuned.safetensors`` and ``rounds.jsonl``."""


def federation_folder() -> Path:
    """Return the folder that the environment variable names.

    Raises:
        InputError: it is not set, or there is no such folder.
    """
    folder = Path(os.environ.get(FOLDER, ""))
    if FOLDER not in os.environ or not folder.is_dir():
        raise InputError(
            f"{FOLDER}={str(os.environ.get(FOLDER, ''))!r} is no folder: set it to the one with "
            "this machine's part of the federation before FLARE is started "
            "(docs/how_to/federated.md)"
        )
    return folder


def site_settings(name: str) -> dict[str, Any]:
    """Return the settings of a site from this machine's folder.

    Raises:
        InputError: there is no folder or no file, or it is not JSON.
    """
    return read_json(federation_folder() / f"{name}.json")
