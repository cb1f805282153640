"""Pages that are generated are what their generator writes."""

import pytest
from conftest import ROOT
from make_tables import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / f"{name}.md").read_text("utf-8") == PAGES[name]()
