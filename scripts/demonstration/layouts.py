"""Scenes written to disk in the layouts of the data sets."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from demonstration.scenes import Scene, airfield, coins, photograph, roofs, ships
from PIL import Image

from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.pictures.voc import CLASSES

TRAIN, HELD_OUT = range(4), range(4, 5)  # seeds


def coco(root: Path) -> None:
    """Photographs: a cup is asked for, a cat, an astronaut and a rocket are trained on."""
    for part, names in (("train", ["astronaut", "chelsea", "rocket"]), ("val", ["coffee"])):
        scenes = {f"{name}.jpg": photograph(name) for name in names}
        annotations = root / "annotations" / f"instances_{part}2017.json"
        _write_coco(annotations, root / f"{part}2017", scenes)


def voc(root: Path) -> None:
    """Photographs: a cat is asked for, a person and a motorbike are trained on."""
    folder = root / "VOC2012"
    for part, names in (("train", ["astronaut", "motorcycle"]), ("val", ["chelsea"])):
        for name in names:
            picture, instances = photograph(name)
            objects, classes = np.zeros((2, *picture.shape[:2]), np.uint8)
            shown = [(label, mask) for label, mask in instances if label in CLASSES]
            for number, (label, mask) in enumerate(shown, start=1):
                objects[mask], classes[mask] = number, CLASSES.index(label) + 1
            _save(folder / "JPEGImages" / f"{name}.jpg", picture)
            _save(folder / "SegmentationObject" / f"{name}.png", objects)
            _save(folder / "SegmentationClass" / f"{name}.png", classes)
        listing = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(names) + "\n")


def nwpu(root: Path) -> None:
    """Storage tanks and tennis courts."""
    scenes = {f"{seed:03d}.jpg": airfield(seed) for seed in (*TRAIN, *HELD_OUT)}
    _write_coco(root / "annotations.json", root / "positive image set", scenes)


def whu(root: Path) -> None:
    """Roofs."""
    for part, seeds in (("train", TRAIN), ("val", HELD_OUT)):
        for seed in seeds:
            picture, instances = roofs(seed)
            _save(root / part / "image" / f"{seed}.tif", picture)
            label = np.any([mask for _, mask in instances], axis=0)
            _save(root / part / "label" / f"{seed}.tif", label)


def ssdd(root: Path) -> None:
    """Ships in speckle."""
    for part, seeds in (("train", TRAIN), ("val", HELD_OUT)):
        scenes = {f"{seed:06d}.jpg": ships(seed) for seed in seeds}
        _write_coco(root / "annotations" / f"SSDD_instances_{part}.json", root / "imgs", scenes)


def custom(root: Path) -> None:
    """Coins: four strips of a photograph."""
    for number, (picture, instances) in enumerate(coins()):
        _save(root / "images" / f"{number}.png", picture)
        _save(root / "masks" / f"{number}.png", np.any([mask for _, mask in instances], axis=0))


def _write_coco(path: Path, images: Path, scenes: Mapping[str, Scene]) -> None:
    """Write a COCO file with run lengths, and its pictures."""
    labels = sorted({label for _, instances in scenes.values() for label, _ in instances})
    content: dict[str, list] = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(scenes)],
        "annotations": [],
        "categories": [{"id": n, "name": label} for n, label in enumerate(labels, start=1)],
    }
    for n, (name, (picture, instances)) in enumerate(scenes.items()):
        _save(images / name, picture)
        for label, mask in instances:
            rle = rle_of(mask)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": n,
                    "category_id": labels.index(label) + 1,
                    "segmentation": {**rle, "counts": rle["counts"].decode()},
                }
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


LAYOUTS = {make.__name__: make for make in (coco, voc, nwpu, whu, ssdd, custom)}
