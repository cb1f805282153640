"""Natural, aerial and radar pictures: their data sets and files, tiles, and instances."""

from samparser_monai.pictures.boxes import boxed_items
from samparser_monai.pictures.coco import coco_items
from samparser_monai.pictures.folders import custom_items
from samparser_monai.pictures.nwpu import nwpu_items
from samparser_monai.pictures.ssdd import ssdd_items
from samparser_monai.pictures.voc import voc_items
from samparser_monai.pictures.whu import whu_items

__all__ = [
    "boxed_items",
    "coco_items",
    "custom_items",
    "nwpu_items",
    "ssdd_items",
    "voc_items",
    "whu_items",
]
