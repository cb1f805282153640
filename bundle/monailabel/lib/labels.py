"""Labels as viewers save them -> label volumes that the bundle's train.json takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from samparser_monai.data.abdomen_ct import split_by_patient
from samparser_monai.data.labels import organ_values
from samparser_monai.data.volumes import read_oriented
from samparser_monai.errors import InputError

HELD_OUT = 5  # of one volume alone every fifth labelled slice is held out


def labelled(datastore: Datastore, tag: str = DefaultLabelTag.FINAL) -> list[dict[str, Any]]:
    """Return {case, image, label, info} of the images that have a label of this tag."""
    found = []
    for image in datastore.list_images():
        if label := datastore.get_label_by_image_id(image, tag):
            paths = {
                "image": datastore.get_image_uri(image),
                "label": datastore.get_label_uri(label, tag),
            }
            info = datastore.get_label_info(label, tag)
            found.append({"case": image, "patient": image, **paths, "info": info})
    return found


def read_label(item: Mapping[str, Any], labels: Mapping[str, Any]) -> MetaTensor:
    """Return a label volume along LPS with the organs' own values, the first of each.

    3D Slicer numbers segments as they stand in its list and says so beside the file, under
    ``label_info``; a file without that has the organs' values already.
    """
    volume = read_oriented(item["label"])
    known = organ_values(labels)
    values = {value: own[0] for own in known.values() for value in own}
    if segments := item["info"].get("label_info"):
        named = [(s.get("idx", n), s.get("name")) for n, s in enumerate(segments, start=1)]
        values = {number: known[name][0] for number, name in named if name in known}
    table = np.zeros(256, np.uint8)
    for value, own in values.items():
        table[value] = own
    return MetaTensor(table[volume.numpy().astype(np.uint8)], affine=volume.affine)


def training_items(
    items: Sequence[Mapping[str, Any]], labels: Mapping[str, Any], folder: Path
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Write label volumes into ``folder`` and split them; say by what.

    By patient where there are two; of a single one every fifth labelled slice is held out, whose
    neighbours training has seen: that DSC flatters.

    Raises:
        InputError: there is no label of tag ``final``.
    """
    if not items:
        raise InputError("no label of tag 'final': save one from the viewer, then train")
    folder.mkdir(parents=True)
    volumes = {item["case"]: read_label(item, labels) for item in items}
    if len(items) > 1:
        sides, text = split_by_patient([dict(item) for item in items], 0.8, 2023), "other patients"
    else:
        sides = {"train": list(items), "validation": list(items)}
        text = f"every {HELD_OUT}th slice of the one volume"
    split: dict[str, list[dict[str, Any]]] = {}
    for side, members in sides.items():
        split[side] = []
        for item in members:
            volume = volumes[item["case"]]
            values = volume.numpy()[0].copy()
            if len(items) == 1:
                shown = np.flatnonzero(values.any((0, 1)))
                held = shown[HELD_OUT // 2 :: HELD_OUT]
                values[:, :, held if side == "train" else np.setdiff1d(shown, held)] = 0
            path = folder / f"{side}_{item['case']}.nii.gz"
            nib.save(nib.Nifti1Image(values, np.asarray(volume.affine)), path)
            split[side].append({**item, "label": str(path)})
    return split, text
