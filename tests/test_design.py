"""The streets of docs/concepts/design.md: imports point one way."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "samparser_monai"
ANYWHERE = {"errors", "files", "states", ""}  # "": the package's version
ALLOWED = {  # street -> streets that it may import
    "": {"segmenter"},  # imported when it is asked for
    "__main__": {"commands"},
    "shipped": set(),
    "monai_command": {"shipped"},
    "run_file": {"monai_command"},
    "errors": set(),
    "files": set(),
    "states": set(),
    "fetch": set(),
    "from_index": set(),
    "spectrum": set(),
    "geometry": set(),
    "harness": set(),
    "metrics": set(),
    "sam": {"fetch", "geometry"},
    "methods": {"spectrum"},
    "training": {"fetch", "geometry", "metrics", "sam", "methods"},
    "volumes": {"fetch", "geometry", "sam"},
    "pictures": {"geometry", "sam"},
    "tuned": {"spectrum", "sam", "methods", "harness"},
    "federated": {"tuned"},
    "segmenter": {"shipped", "sam", "volumes", "pictures", "tuned"},
    "bundling": {"shipped", "fetch", "sam", "tuned"},
    "label_server": {"shipped", "fetch"},
    "studies": {
        *("shipped", "monai_command", "fetch", "harness", "sam", "methods"),
        *("training", "volumes", "tuned"),
    },
    "commands": {
        *("shipped", "monai_command", "run_file", "bundling", "label_server", "studies"),
        *("fetch", "sam", "volumes", "pictures", "tuned"),
    },
}


def street(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removeprefix("__init__")


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "samparser_monai":
                first = rest.partition(".")[0]
                found.add(first if first in ALLOWED else "")
    return found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from samparser_monai import volumes", {"volumes"}),
        ("from samparser_monai import __version__", {""}),
        ("import samparser_monai.sam.builder", {"sam"}),
        ("from samparser_monai.sam.builder import build", {"sam"}),
        ("from torch import volumes", set()),
    ],
)
def test_every_way_to_import_is_seen(line: str, found: set[str]) -> None:
    assert imports(line) == found


def test_imports_point_one_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        here = street(path)
        wrong = imports(path.read_text("utf-8")) - ALLOWED[here] - ANYWHERE - {here}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_streets_have_no_circle() -> None:
    above: set[str] = set()

    def walk(here: str) -> None:
        assert here not in above, f"{here} imports itself by way of {above}"
        above.add(here)
        for other in ALLOWED[here]:
            walk(other)
        above.remove(here)

    for here in ALLOWED:
        walk(here)


def test_every_street_says_who_lives_there() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path
