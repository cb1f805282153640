"""The tuned part of a network: saved, merged, exchanged, exported, and what it says."""

from samparser_monai.tuned.part import apply_tuned, load_tuned, open_tuned, read_tuned, save_tuned

__all__ = ["apply_tuned", "load_tuned", "open_tuned", "read_tuned", "save_tuned"]
