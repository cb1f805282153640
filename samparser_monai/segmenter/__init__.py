"""The small Python door: from a file to a mask, and to a picture of it, in five lines.

What ``__all__`` names is stable: a name or an argument that is to go stays for two minor versions
beside what takes its place, and warns with a DeprecationWarning that names it.
"""

from samparser_monai.segmenter.picture import SegmentedPicture
from samparser_monai.segmenter.segmenter import Segmenter
from samparser_monai.segmenter.volume import SegmentedVolume

__all__ = ["SegmentedPicture", "SegmentedVolume", "Segmenter"]
