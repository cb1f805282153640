"""Bring a file of a pinned package as it lies in the package index; a script, run apart.

`pip download` builds a source package to ask for its metadata, which runs its code, and all that
its build needs, before anybody has looked at its hash. This asks pip's own finder, with pip's own
configuration (index, credentials, proxies, certificates), and takes the file alone.

    python -P from_index.py NAME==VERSION FOLDER [option of pip download ...]
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import SpecifierSet


def main(requirement: str, folder: str, *options: str) -> None:
    """Write the file into the folder; what is wrong goes to stderr, as pip says it."""
    name, _, version = requirement.partition("==")
    command: Any = create_command("download")
    with command.main_context():
        given, _ = command.parse_args([*options, requirement])
        session = command.get_default_session(given)
        finder = command._build_package_finder(given, session)
        best = finder.find_best_candidate(name, SpecifierSet(f"=={version}")).best_candidate
        if best is None:
            sys.exit(f"No matching distribution found for {requirement}")
        headers = {"Accept-Encoding": "identity"}  # the file itself, whatever its ending
        answer = session.get(best.link.url_without_fragment, headers=headers, stream=True)
        answer.raise_for_status()
        with Path(folder, best.link.filename).open("wb") as file:
            shutil.copyfileobj(answer.raw, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
