"""SAM-PARSER as a MONAI bundle: Segment Anything, rebuilt for a scenario by 512 coefficients."""

__version__ = "0.1.0"
