"""The rooms of docs/design.md: imports point one way."""

import ast
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "samparser_monai"
ANYWHERE = {"errors", "files"}
ALLOWED = {  # room -> rooms that it may import
    "errors": set(),
    "fetch": set(),
    "from_index": set(),
    "spectrum": set(),
    "prompts": set(),
    "prompt_files": set(),
    "losses": set(),
    "metrics": set(),
    "scores": set(),
    "sam": {"fetch"},
    "methods": {"spectrum"},
    "data": {"prompts", "prompt_files", "fetch"},
    "instance_metrics": {"metrics"},
    "features": {"sam"},
    "loader": {"sam", "data", "features"},
    "inferers": {"sam"},
    "tiles": {"sam", "data", "prompts", "inferers"},
    "targets": {"data", "prompts"},
    "volume": {"sam", "data", "prompts", "targets"},
    "appearance": set(),
    "masks": {"prompts", "volume"},
    "propagation": {"appearance", "masks", "targets", "volume"},
    "files": set(),
    "saving": set(),
    "dicom_seg": {"data"},
    "page": set(),
    "batch": {"data", "page", "volume"},
    "resuming": set(),
    "handlers": {"resuming"},
    "tracking": set(),
    "tuned": {"sam", "methods"},
    "federated": {"tuned"},
    "merge": {"sam"},
    "unmerge": {"sam", "methods", "spectrum"},
    "swap": {"sam", "methods", "tuned"},
    "export": {"sam"},
    "harness": set(),
    "spectrum_report": {"sam", "spectrum", "report", "harness"},
    "report": {"methods", "metrics", "handlers"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n and n.startswith("samparser_monai.")}
    return found


def test_imports_point_one_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "__init__.py":
            here = room(path)
            wrong = imports(path) - ALLOWED[here] - ANYWHERE - {here}
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"
