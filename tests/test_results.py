"""Pages that are generated are what their generator writes."""

import pytest
from conftest import ROOT

from samparser_monai.studies.tables.pages import PAGES
from samparser_monai.studies.tables.studies import few_prompts


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_fresh(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert (ROOT / "docs" / "reference" / f"{name}.md").read_text("utf-8") == PAGES[name]()


def test_what_was_not_measured_stays_empty() -> None:
    runs = [
        {"name": "all", "cases": {"a": {"one box": {"liver": 80}, "five": {"liver": 90}}}},
        {"name": "some", "cases": {"a": {"one box": {"liver": 81.26}}}},
    ]
    lines = few_prompts(runs).splitlines()
    assert lines[2:] == ["| one box | 80.0 | 81.3 |", "| five | 90.0 |  |"]
