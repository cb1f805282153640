"""From files on disk to items: one file per layout, and the transforms that all of them share.

An item function gives ``{"train": [...], "validation": [...]}``: paths and annotations, no pixels.
"""

from samparser_monai.data.abdomen_ct import abdomen_ct_items
from samparser_monai.data.collate import collate
from samparser_monai.data.inference import inference_items
from samparser_monai.data.slices import SliceDataset

__all__ = ["SliceDataset", "abdomen_ct_items", "collate", "inference_items"]
