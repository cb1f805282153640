"""Saved labels -> label volumes that the bundle's train.json takes, split by patient."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.labels import organs_of, read_label, told
from samparser_monai.errors import InputError
from samparser_monai.volumes.layouts import split_by_patient

HELD_OUT = 5  # of one patient alone every fifth labelled slice is held out
WHOLE, END = 5, 0.4  # slices that a whole organ has at least; its outermost ones' share of the area


def labelled(
    datastore: Datastore, tag: str = DefaultLabelTag.FINAL, pattern: str = ""
) -> list[dict[str, Any]]:
    """Return {case, patient, image, label, info} of the images that have a label of this tag.

    Args:
        datastore: of images and labels.
        tag: of the labels.
        pattern: a regular expression for the patient in an image's name, or its first group.

    An image's patient is what is noted beside it as ``patient`` (or by a DICOMweb server), or
    what the pattern finds in its name, or the image itself.
    """
    found = []
    for image in datastore.list_images():
        if label := datastore.get_label_by_image_id(image, tag):
            paths = {
                "image": datastore.get_image_uri(image),
                "label": datastore.get_label_uri(label, tag),
            }
            about = datastore.get_image_info(image)
            match = re.search(pattern, image) if pattern else None
            patient = about.get("patient") or about.get("PatientID")
            patient = (
                patient
                if patient not in (None, "", "UNK")
                else match and match[min(1, match.re.groups)]
            )
            info = datastore.get_label_info(label, tag)
            found.append({"case": image, "patient": str(patient or image), **paths, "info": info})
    return found


def check_labels(
    items: Sequence[Mapping[str, Any]], datastore: Any, labels: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return what is told of the label of each case, before a training is started.

    Raises:
        InputError: there is nothing to learn from.
    """
    about = {}
    if not items:
        raise InputError("no label of tag 'final': save one from the viewer, then train")
    for item in items:
        note = datastore.noted(item["case"], DefaultLabelTag.FINAL)
        known = about[item["case"]] = told(note["voxels"], note["info"], labels)
        if not known["organs"]:
            raise InputError(
                f"the label of {item['case']!r} shows none of {', '.join(labels)}, but "
                f"{', '.join(known['left_out']) or 'nothing'}: name its segments so, or delete it"
            )
    return about


def training_items(
    items: Sequence[Mapping[str, Any]],
    labels: Mapping[str, Any],
    folder: Path,
    names: bool = False,
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Write label volumes into ``folder`` and split them; say by what.

    By patient where there are two; of a single one every fifth labelled slice is held out, whose
    neighbours training has seen: that DSC flatters.

    Args:
        items: see labelled.
        labels: of the model.
        folder: is made.
        names: organs are asked for by name too: then it matters what is not there. Where all
            organs of a label are drawn as a whole, slices without them count; of another only
            what is drawn on a slice is asked there.

    Raises:
        InputError: a label that cannot be read, or too few labelled slices to hold one out.
    """
    folder.mkdir(parents=True)
    alone = len({item["patient"] for item in items}) == 1
    if alone:
        sides = {"train": list(items), "validation": list(items)}
        text = f"every {HELD_OUT}th slice of the one patient"
    else:
        sides, text = split_by_patient([dict(item) for item in items], 0.8, 2023), "other patients"
    split: dict[str, list[dict[str, Any]]] = {}
    for side, members in sides.items():
        split[side] = []
        for item in members:
            read = read_label(item["label"], f"the label of {item['case']!r}")
            volume = organs_of(read, item["info"], labels)
            values = volume.numpy()[0].copy()
            whole = names and not alone and drawn_whole(values)
            if alone:
                shown = np.flatnonzero(values.any((0, 1)))
                held = shown[HELD_OUT // 2 :: HELD_OUT]
                values[:, :, held if side == "train" else np.setdiff1d(shown, held)] = 0
            parts = [values] if whole or not names else by_organs(values)
            for n, part in enumerate(parts):
                path = folder / f"{side}_{item['case']}{f'.{n}' if n else ''}.nii.gz"
                if part.any():
                    nib.save(nib.Nifti1Image(part, np.asarray(volume.affine)), path)
                    every = {"every_slice": True} if whole else {}
                    split[side].append({**item, **every, "label": str(path)})
        if not split[side]:
            raise InputError(f"too few labelled slices: label {HELD_OUT} or more, or two patients")
    return split, text


def learned_from(
    items: Sequence[Mapping[str, Any]],
    split: Mapping[str, Sequence[Mapping[str, Any]]],
    about: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Return case -> who labelled it, its organs and their voxels, and on which sides it was.

    Args:
        items: see labelled.
        split: see training_items.
        about: see check_labels.
    """
    return {
        item["case"]: {
            "by": item["info"].get("by"),
            "organs": about[item["case"]]["organs"],
            "sides": [s for s in split if any(o["case"] == item["case"] for o in split[s])],
        }
        for item in items
    }


def drawn_whole(values: np.ndarray) -> bool:
    """Tell whether all organs of a label volume look as if they were drawn from end to end.

    Those drawn on some slices do not taper off, or have gaps.
    """
    for value in np.unique(values[values > 0]):
        areas = (values == value).sum((0, 1))
        shown = np.flatnonzero(areas)
        first, last = shown[0], shown[-1]
        ends = [k for k in (first, last) if 0 < k < len(areas) - 1]
        tapers = all(areas[k] <= END * areas.max() for k in ends)
        if len(shown) < WHOLE or len(shown) <= last - first or not tapers:
            return False
    return True


def by_organs(values: np.ndarray) -> list[np.ndarray]:
    """Return label volumes that make up this one, each of the slices that show the same organs."""
    shown = [frozenset(np.unique(values[:, :, k])) - {0} for k in range(values.shape[2])]
    return [
        np.where([organs == one for one in shown], values, 0).astype(values.dtype)
        for organs in dict.fromkeys(shown)
        if organs
    ]
