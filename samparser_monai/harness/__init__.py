"""Comparisons: the runs of a study on disk, and what they say of a tuned part."""

from samparser_monai.harness.runs import read_runs, write_run

__all__ = ["read_runs", "write_run"]
