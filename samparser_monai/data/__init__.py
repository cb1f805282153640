"""From files on disk to items: one file per layout, and the transforms that all of them share.

An item function gives ``{"train": [...], "validation": [...]}``: paths and annotations, no pixels.
"""

from samparser_monai.volumes.layouts import abdomen_ct_items
from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.coco import coco_items
from samparser_monai.training.collate import collate
from samparser_monai.pictures.folders import custom_items
from samparser_monai.volumes.cases import inference_items
from samparser_monai.pictures.nwpu import nwpu_items
from samparser_monai.volumes.slices import SliceDataset
from samparser_monai.pictures.ssdd import ssdd_items
from samparser_monai.pictures.voc import voc_items
from samparser_monai.pictures.whu import whu_items

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
