"""Pages that are generated are what their generator writes."""

import make_tables
import paper_counts
from conftest import ROOT


def test_pages_are_fresh() -> None:
    for name, page in (("results", make_tables.page()), ("parameters", paper_counts.page())):
        assert (ROOT / "docs" / f"{name}.md").read_text("utf-8") == page


def test_what_was_not_measured_stays_empty() -> None:
    runs = [
        {"name": "all", "cases": {"a": {"one box": {"liver": 80}, "five": {"liver": 90}}}},
        {"name": "some", "cases": {"a": {"one box": {"liver": 81.26}}}},
    ]
    lines = make_tables.few_prompts(runs).splitlines()
    assert lines[2:] == ["| one box | 80.0 | 81.3 |", "| five | 90.0 |  |"]
