"""Volumes as slices: each volume is checked and cut once, its slices kept compressed on disk."""

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import Dataset
from monai.transforms import Compose
from tqdm.contrib.concurrent import thread_map

from samparser_monai.errors import InputError, at_least, writable
from samparser_monai.files import files_below
from samparser_monai.geometry.components import numbered_parts
from samparser_monai.volumes.label_volumes import read_pair
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.reading import check_hounsfield

Item = dict[str, Any]
log = logging.getLogger(__name__)


class SliceDataset(Dataset):
    """The axial slices that show an organ, of volumes given by ``data``.

    Args:
        data: items {image, label, case?, labelled?, every_slice?} of volumes. Those with
            ``every_slice`` are to be asked by name too: their slices without an organ count.
        transform: applied to slice items {slices, case, slice, organs, named}: the organs that
            are to be seen, and those that may be asked for by name: that were ``labelled``, by
            default those that the volume shows, for unlabelled never means absent.
        labels: organ -> its value, or values, in the label volumes; other values are ignored.
        cache_dir: where the slices are kept, keyed by the files and the labels.
        min_area: components smaller than this many pixels of the source are no instances.
        min_volume: organs of fewer voxels are dropped from a case.
        window: lowest and highest intensity that will be seen; see check_hounsfield.
        empty_share: of an item with ``every_slice``, how many slices without an organ count for
            one with; 1000 takes all.

    Raises:
        InputError: a volume that cannot be used, see read_pair; no slice is left.
    """

    def __init__(
        self,
        data: Sequence[Item],
        transform: Sequence[Callable] | Callable | None = None,
        *,
        labels: Labels,
        cache_dir: str | Path,
        min_area: int = 100,
        min_volume: int = 1000,
        window: Sequence[float] | None = None,
        empty_share: float = 0.25,
    ) -> None:
        at_least(0.0, empty_share=empty_share)
        at_least(0, min_area=min_area, min_volume=min_volume)
        organ_values(labels)
        folder = writable("cache_dir", cache_dir) / "slices"
        folder.mkdir(exist_ok=True)
        cut = thread_map(
            lambda item: cut_volume(item, labels, folder),
            data,
            max_workers=min(4, os.cpu_count() or 1),
            desc="volumes",
            leave=False,
        )
        indices = [(case, json.loads((case / "index.json").read_text())) for case in cut]
        for (_, index), item in zip(indices, data, strict=True):
            if window is not None:
                low, high = index["range"]
                check_hounsfield(low, high, window, str(item["image"]))
        super().__init__(
            [
                slice_
                for (case, index), item in zip(indices, data, strict=True)
                for slice_ in _slices_of(case, index, item, min_area, min_volume, empty_share)
            ],
            transform if callable(transform) or transform is None else Compose(transform),
        )
        if not self.data:
            raise InputError(
                f"no slice of {len(data)} volumes shows an organ of labels={dict(labels)} with "
                f"min_area={min_area} and min_volume={min_volume}: compare them with the files"
            )
        shown = {organ for item in self.data for organ in item["organs"]}
        if absent := [organ for organ in labels if organ not in shown]:
            log.warning("labels: %s does not occur in the %d volumes", ", ".join(absent), len(data))


def _slices_of(
    folder: Path, index: Item, item: Item, min_area: int, min_volume: int, empty_share: float
) -> list[Item]:
    volumes = index["volumes"]
    kept = {organ for organ, volume in volumes.items() if volume >= min_volume}
    labelled = set(item.get("labelled", ())) & volumes.keys()
    named = kept | {organ for organ in labelled if not volumes[organ]}
    shown = {
        number: any(organ in kept and area >= min_area for organ, area in areas)
        for number, areas in index["areas"].items()
    }
    empty = [n for n in shown if not shown[n]] if item.get("every_slice") and named else []
    if shown_count := sum(shown.values()):  # evenly, else most steps would teach what is absent
        count = min(len(empty), math.ceil(empty_share * shown_count))
        empty = [empty[round((n + 0.5) * len(empty) / count - 0.5)] for n in range(count)]
    return [
        {
            "slices": str(folder / f"{number}.npz"),
            "case": index["case"],
            "slice": int(number),
            "organs": sorted(kept),
            "named": sorted(named),
        }
        for number in shown
        if shown[number] or number in empty
    ]


def cut_volume(item: Item, labels: Labels, folder: Path) -> Path:
    """Cut one labelled volume into compressed slices, once, and return the folder they are in.

    A slice file holds ``image`` (HxW, the file's own numbers), ``label`` (HxW, the organ's place in
    ``labels``, from 1) and ``parts`` (HxW, the numbers of its components); the rows run to the back
    and the columns to the patient's left, as a radiologist sees it. Slices without any organ are
    left out, unless the item has
    ``every_slice``.
    """
    target = folder / _key(item, labels)
    if target.exists():
        return target
    image, label = read_pair(item["image"], item["label"], labels)
    organs = _organs_of(label, labels)
    case = item.get("case", Path(item["image"]).name)
    index: dict[str, Any] = {"case": case, "areas": {}, "volumes": {}}
    index["range"] = [float(image.min()), float(image.max())]
    names = list(labels)
    for place, name in enumerate(names, start=1):
        index["volumes"][name] = int((organs == place).sum())
    if not any(index["volumes"].values()):
        raise InputError(
            f"{item['label']} shows none of labels={dict(labels)}: its values are "
            f"{np.unique(label)[:20].tolist()}; give the right ones by --labels"
        )
    temporary = Path(tempfile.mkdtemp(dir=folder))
    try:
        for k in np.flatnonzero(organs.any((0, 1)) | bool(item.get("every_slice"))):
            picture, truth = image[:, :, k].T, organs[:, :, k].T
            values, parts = numbered_parts(truth)
            areas = np.bincount(parts.ravel(), minlength=len(values) + 1)[1:].tolist()
            index["areas"][str(k)] = [
                (names[v - 1], area) for v, area in zip(values, areas, strict=True)
            ]
            np.savez_compressed(temporary / f"{k}.npz", image=picture, label=truth, parts=parts)
        (temporary / "index.json").write_text(json.dumps(index))
        os.replace(temporary, target)
    except OSError:
        if not target.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _organs_of(label: np.ndarray, labels: Labels) -> np.ndarray:
    organs = np.zeros(label.shape, dtype=np.uint8)
    for place, values in enumerate(organ_values(labels).values(), start=1):
        organs[np.isin(label, values)] = place
    return organs


def _key(item: Item, labels: Labels) -> str:
    parts: list[Any] = [4, item.get("case"), labels]  # 4: what a folder of slices holds
    parts += ["every slice"] * bool(item.get("every_slice"))
    for path in (Path(item["image"]), Path(item["label"])):
        for file in files_below(path) if path.is_dir() else [path]:
            state = file.stat()
            parts.append([str(file.resolve()), state.st_size, state.st_mtime_ns])
    if Path(item["label"]).is_dir():
        parts.append(3)  # how names of masks are matched
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
