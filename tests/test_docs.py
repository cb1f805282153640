"""What `make docs` does not see: links of the pages beside the site, outputs left in notebooks."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_output(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


def places(page: Path) -> set[str]:
    """Return the anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING", "CHANGELOG", "SECURITY"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / f"{name}.md"
    links = re.findall(r"\]\(([^)\s:]+)\)", page.read_text("utf-8"))
    assert links
    for link in links:
        file, _, place = link.partition("#")
        target = ROOT / file if file else page
        assert target.exists(), link
        assert not place or place in places(target), link
