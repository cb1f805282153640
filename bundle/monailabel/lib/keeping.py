"""An answer put into the label of its image, for viewers that save nothing themselves, as OHIF."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.labels import organs_of, whole_volume
from samparser_monai.volumes.grids import along
from samparser_monai.volumes.organs import organ_values
from samparser_monai.volumes.reading import read_volume

FINAL = DefaultLabelTag.FINAL


def put(
    store: Any, image: str, answer: str, organs: Sequence[str], flat: bool, by: str | None
) -> None:
    """Save an answer as the final label of its image; its other organs stay as they are there.

    Args:
        store: of images and labels.
        image: that was asked about.
        answer: path of the label volume, with the organs' own values.
        organs: that were asked for.
        flat: it is about the slices alone that it shows.
        by: whom the label is of.
    """
    known, new = organ_values(store.labels), read_volume(answer)
    values = new.numpy()[0].astype(np.uint8)
    kept = np.zeros_like(values)
    if label := store.get_label_by_image_id(image, FINAL):
        before = along(whole_volume(read_volume(store.get_label_uri(label, FINAL)), image), new)
        kept = organs_of(before, store.get_label_info(label, FINAL), store.labels).numpy()[0]
    own = np.isin(kept, [known[organ][0] for organ in organs])
    kept[own & values.any((0, 1)) if flat else own] = 0
    kept = np.where(values > 0, values, kept)
    info = [
        {"name": organ, "idx": own[0]} for organ, own in known.items() if (kept == own[0]).any()
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "label.nii.gz")
        nib.save(nib.Nifti1Image(kept, np.asarray(new.affine)), path)
        store.save_label(image, str(path), FINAL, {"label_info": info, "by": by})
