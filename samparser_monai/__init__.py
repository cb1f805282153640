"""SAM-PARSER as a MONAI bundle: Segment Anything, rebuilt for a scenario by 512 coefficients."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samparser_monai.segmenter import Segmenter as Segmenter

# MONAI tries this reader too whenever it makes one, and tells each time that there is no GPU's
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader: ")

__version__ = "0.1.0"
__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the door to Python when it is opened: torch and MONAI take seconds."""
    if name == "Segmenter":
        from samparser_monai.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
