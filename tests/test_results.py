"""Pages that are generated are what their generator writes."""

import importlib.util

from conftest import ROOT

spec = importlib.util.spec_from_file_location("make_tables", ROOT / "scripts" / "make_tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


def test_results_page_is_fresh() -> None:
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == tables.page()
