"""From files on disk to items: one file per layout, and the transforms that all of them share.

An item function gives ``{"train": [...], "validation": [...]}``: paths and annotations, no pixels.
"""

from samparser_monai.data.abdomen_ct import abdomen_ct_items
from samparser_monai.data.boxes import boxed_items
from samparser_monai.data.coco import coco_items
from samparser_monai.data.collate import collate
from samparser_monai.data.folders import custom_items
from samparser_monai.data.inference import inference_items
from samparser_monai.data.nwpu import nwpu_items
from samparser_monai.data.slices import SliceDataset
from samparser_monai.data.ssdd import ssdd_items
from samparser_monai.data.voc import voc_items
from samparser_monai.data.whu import whu_items

__all__ = [
    "SliceDataset",
    "abdomen_ct_items",
    "boxed_items",
    "coco_items",
    "collate",
    "custom_items",
    "inference_items",
    "nwpu_items",
    "ssdd_items",
    "voc_items",
    "whu_items",
]
