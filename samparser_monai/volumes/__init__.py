"""CT volumes: their files and layouts, prompts in them, and what is found from slice to slice."""

from samparser_monai.volumes.cases import inference_items
from samparser_monai.volumes.dataset_json import labels_in
from samparser_monai.volumes.layouts import abdomen_ct_items
from samparser_monai.volumes.slices import SliceDataset

__all__ = ["SliceDataset", "abdomen_ct_items", "inference_items", "labels_in"]
