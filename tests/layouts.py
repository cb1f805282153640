"""Small synthetic pictures in the true layouts of the data sets."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from samparser_monai.monai_command import SHARED

SIZE = (48, 64)
Scene = tuple[np.ndarray, list[tuple[str, np.ndarray]]]


def scene(seed: int, size: tuple[int, int] = SIZE) -> Scene:
    """Return a picture HxWx3 and its instances: two ships that do not touch, and a harbor."""
    random = np.random.default_rng(seed)
    y, x = np.indices(size)
    shift = random.integers(0, 4)
    masks = [
        ("ship", (abs(y - 10) < 5) & (abs(x - 12 - shift) < 8)),
        ("ship", (abs(y - 34 - shift) < 6) & (abs(x - 20) < 9)),
        ("harbor", (x - 48) ** 2 + (y - 24) ** 2 < 120),
    ]
    picture = random.integers(0, 60, (*size, 3))
    for n, (_, mask) in enumerate(masks):
        picture[mask] += 80 + 40 * n
    return picture.astype(np.uint8), masks


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    """Write a picture; of a two-dimensional uint8 array under a .png, one with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if path.suffix == ".png" and array.dtype == np.uint8 and array.ndim == 2:
        picture.putpalette(
            np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes()
        )
    picture.save(path, **options)
    return path


def rectangle(mask: np.ndarray) -> list[float]:
    """Return the polygon around a mask that is a rectangle."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


def coco_file(scenes: dict[str, Scene], crowd: bool = True) -> dict:
    """Return a COCO file: polygons, both kinds of RLE, a crowd, ids with gaps, an empty picture."""
    ids = {"ship": 18, "harbor": 90}
    images = [{"id": 7, "file_name": "empty.jpg", "height": SIZE[0], "width": SIZE[1]}]
    annotations = []
    for n, (name, (_, masks)) in enumerate(scenes.items()):
        images.append({"id": 100 + n, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        for place, (label, mask) in enumerate(masks):
            rle = coco.encode(np.asfortranarray(mask, np.uint8))
            rle["counts"] = rle["counts"].decode()
            runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=2)), prepend=0)
            raw = {"size": list(SIZE), "counts": [int(r) for r in runs]}
            annotations.append(
                {
                    "id": 10 * n + place + 1,
                    "image_id": 100 + n,
                    "category_id": ids[label],
                    "iscrowd": 0,
                    "bbox": coco.toBbox(coco.encode(np.asfortranarray(mask, np.uint8))).tolist(),
                    "area": int(mask.sum()),
                    "segmentation": ([rectangle(mask)], rle, raw)[place],
                }
            )
        if crowd:
            full = {"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}
            annotations.append(
                {"id": 10 * n + 9, "image_id": 100 + n, "category_id": 18, "iscrowd": 1}
                | {"segmentation": full}
            )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, images: Path, seeds: range) -> None:
    """Write a COCO file and its pictures."""
    scenes = {f"{seed:06d}.jpg": scene(seed) for seed in seeds}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco_file(scenes)), encoding="utf-8")
    for name, (picture, _) in scenes.items():
        save(images / name, picture)
    save(images / "empty.jpg", np.zeros((*SIZE, 3), np.uint8))


def make_coco(root: Path) -> dict:
    for part, seeds in (("train", range(3)), ("val", range(3, 5))):
        annotations = root / "annotations" / f"instances_{part}2017.json"
        write_coco(annotations, root / f"{part}2017", seeds)
    return {"dataset_dir": str(root)}


def make_nwpu(root: Path) -> dict:
    write_coco(root / "annotations.json", root / "positive image set", range(5))
    return {"dataset_dir": str(root)}


def make_ssdd(root: Path) -> dict:
    for part, seeds in (("train", range(3)), ("val", range(3, 5))):
        write_coco(root / "annotations" / f"SSDD_instances_{part}.json", root / "imgs", seeds)
    return {"dataset_dir": str(root), "scenario": "ssdd"}


def make_voc(root: Path) -> dict:
    """Objects by number, classes 4 (boat) and 7 (car), void of one pixel around them."""
    folder = root / "VOC2012"
    for part, seeds in (("train", range(3)), ("val", range(3, 5))):
        names = [f"2012_{seed:06d}" for seed in seeds]
        listing = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(names) + "\n")
        for name, seed in zip(names, seeds, strict=True):
            picture, masks = scene(seed)
            objects, classes = np.zeros((2, *SIZE), np.uint8)
            for n, (label, mask) in enumerate(masks, start=1):
                inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0)
                objects[mask] = classes[mask] = 255
                objects[inner], classes[inner] = n, {"ship": 4, "harbor": 7}[label]
            save(folder / "JPEGImages" / f"{name}.jpg", picture)
            save(folder / "SegmentationObject" / f"{name}.png", objects)
            save(folder / "SegmentationClass" / f"{name}.png", classes)
    return {"dataset_dir": str(root)}


def make_whu(root: Path) -> dict:
    for part, seeds in (("train", range(3)), ("val", range(3, 5))):
        for seed in seeds:
            picture, masks = scene(seed)
            label = np.any([mask for _, mask in masks], axis=0)
            save(root / part / "image" / f"{seed}.tif", picture)
            save(root / part / "label" / f"{seed}.tif", label)
        save(root / part / "image" / "9.tif", picture)
        save(root / part / "label" / "9.tif", np.zeros(SIZE, bool))
    return {"dataset_dir": str(root)}


def make_custom(root: Path) -> dict:
    for seed in range(5):
        picture, masks = scene(seed)
        label = np.any([mask for _, mask in masks], axis=0)
        save(root / "pictures" / f"{seed}.png", picture)
        save(root / "masks" / f"{seed}.png", label.astype(np.uint8) * 255)
    return {"images": str(root / "pictures"), "masks": str(root / "masks")}


LAYOUTS = {
    "coco": make_coco,
    "nwpu": make_nwpu,
    "ssdd": make_ssdd,
    "voc": make_voc,
    "whu": make_whu,
    "custom": make_custom,
}


def overlay(scenario: str) -> str:
    """Return the configuration of a scenario; some have one together."""
    return f"scenarios/{SHARED.get(scenario, scenario)}"
