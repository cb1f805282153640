"""The tuned part of a network: saved, merged, exchanged, exported, and what it says."""
