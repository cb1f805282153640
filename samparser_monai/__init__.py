"""SAM-PARSER as a MONAI bundle: Segment Anything, rebuilt for a scenario by 512 coefficients."""

import warnings

# MONAI tries this reader too whenever it makes one, and tells each time that there is no GPU's
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader: ")

__version__ = "0.1.0"
