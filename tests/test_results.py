"""Pages that are generated are what their generator writes."""

import make_tables
import paper_counts
from conftest import ROOT


def test_pages_are_fresh() -> None:
    for name, page in (("results", make_tables.page()), ("parameters", paper_counts.page())):
        assert (ROOT / "docs" / f"{name}.md").read_text("utf-8") == page
