"""What is installed, what it would run on, what was fetched; or what a run was."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from samparser_monai import __version__
from samparser_monai.commands.cache import sizes
from samparser_monai.commands.running import AsJson, print_json
from samparser_monai.run_file import runs_in


def info(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run's folder, or its run.json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is installed, devices, weights and caches; of RUN, what made it."""
    found = installation() if run is None else {str(path): what for path, what in runs_in(run)}
    if as_json:
        print_json(found)
    else:
        _print(found)


def installation() -> dict[str, Any]:
    """Return versions, devices, published weights that are at hand, and the cache's sizes."""
    from samparser_monai.fetch import cache_dir
    from samparser_monai.sam.checkpoints import WEIGHTS
    from samparser_monai.volumes.demonstration import demonstration_dir

    folder = cache_dir()
    at_hand = {name: (folder / source.name).is_file() for name, source in WEIGHTS.items()}
    return {
        "samparser_monai": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": packages(),
        "devices": devices(),
        "weights": at_hand | {"demonstration_ct": demonstration_dir().is_dir()},
        "cache": {"folder": str(folder), "bytes": sizes(folder)},
    }


def packages() -> dict[str, str | None]:
    """Return the versions of what the package asks for; None of an extra that is not there."""
    try:
        needed = requires("samparser-monai") or []
    except PackageNotFoundError:  # a bundle's copy
        needed = ["monai", "torch"]
    own = [need for need in needed if "extra == 'test'" not in need.replace('"', "'")]
    names = {re.split(r"[^\w.-]", need)[0] for need in own} - {"samparser-monai"}
    found: dict[str, str | None] = {}
    for name in sorted(names, key=str.lower):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def devices() -> list[dict[str, Any]]:
    """Return the CPU and each GPU."""
    import torch

    cpu = {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    found: list[dict[str, Any]] = [{"device": "cpu", **cpu}]
    for n in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(n)
        memory = round(card.total_memory / 1e9, 1)
        found.append({"device": f"cuda:{n}", "name": card.name, "memory_gb": memory})
    return found


def _print(content: dict[str, Any], indent: str = "") -> None:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            print(f"{indent}{key}")
            _print(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{key}")
            for row in value:
                print(f"{indent}  {', '.join(f'{k} {v}' for k, v in row.items())}")
        else:
            print(f"{indent}{key}: {_word(value)}")


def _word(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value
