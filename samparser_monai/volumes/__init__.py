"""CT volumes: their files and layouts, prompts in them, and what is found from slice to slice.

Which volumes there are: ``layouts`` (to train on), ``cases`` (to be segmented), ``listing`` (what
both share), ``dataset_json``, ``organ_names`` and ``organs`` (what labels are called, and are).
What a file holds: ``reading``, ``dicom`` with ``dicom_headers``, ``label_volumes``, ``grids``;
``slices`` for training. From prompts to an answer: ``prompts``, ``view``, ``target_reader`` and
``targets``, ``naming`` (by organs' names), ``session`` with ``kept``,
``propagation`` with ``appearance``, ``segmentation``, ``inferer``. What is left for people:
``batch``, ``page``, ``saving``, ``dicom_seg``.
"""

from samparser_monai.volumes.cases import inference_items
from samparser_monai.volumes.dataset_json import labels_in
from samparser_monai.volumes.layouts import abdomen_ct_items
from samparser_monai.volumes.slices import SliceDataset

__all__ = ["SliceDataset", "abdomen_ct_items", "inference_items", "labels_in"]
