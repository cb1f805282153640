"""Instances as people read them: JSON as in COCO, and pictures of their numbers."""

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from monai.transforms import Transform
from PIL import Image
from pycocotools import mask as coco

from samparser_monai.errors import Unfinished, writable
from samparser_monai.files import replacing
from samparser_monai.geometry.run_lengths import Rle

log = logging.getLogger(__name__)


class SaveInstances(Transform):
    """Write the instances of a batch of pictures, each file under a temporary name first.

    ``<case>.json`` has for each prompt its label, box and score (the IoU that SAM expects), and
    the mask's area, box and run lengths as in COCO; what was found by a name has ``by``: ``name``.
    ``<case>.png`` has the prompts' numbers, from 1, as 16-bit pixels, smaller instances over larger
    ones. ``pictures.csv`` has a row to a picture, also to one with an ``error``, which has no other
    file.

    Args:
        output_dir: of the files.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = writable("output_dir", output_dir)
        self.rows: list[dict[str, Any]] = []

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the pictures' instances."""
        errors = data.get("error", [""] * len(data["case"]))
        for n, case in enumerate(data["case"]):
            if errors[n]:
                log.warning("%s: %s", case, errors[n])
            else:
                self._write(case, data["size"][n], data["prompts"][n], data["pred"][n])
            self.rows.append({"case": case, "instances": len(data["pred"][n]), "error": errors[n]})
        return dict(data)

    def finish(self) -> None:
        """Write ``pictures.csv``.

        Raises:
            Unfinished: some pictures had an error; all others are done.
        """
        with replacing(self.folder / "pictures.csv") as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        if failed := [row for row in self.rows if row["error"]]:
            raise Unfinished(
                f"{len(failed)} of {len(self.rows)} pictures could not be segmented, the others "
                f"are done; see {self.folder / 'pictures.csv'}; the first: {failed[0]['error']}"
            )

    def _write(
        self,
        case: str,
        size: tuple[int, int],
        prompts: Sequence[Mapping[str, Any]],
        found: Sequence[Mapping[str, Any]],
    ) -> None:
        asked = [*prompts, *(one["prompt"] for one in found[len(prompts) :])]
        numbers = np.zeros(size, dtype=np.uint16)
        areas = [int(coco.area(one["rle"])) for one in found]
        for n in np.argsort(areas)[::-1]:
            numbers[coco.decode(found[n]["rle"]).astype(bool)] = n + 1
        with replacing(self.folder / f"{case}.png") as temporary:
            Image.fromarray(numbers).save(temporary)
        instances = [
            {"id": n, **prompt, "score": round(one["score"], 4), **_as_coco(one["rle"])}
            for n, (prompt, one) in enumerate(zip(asked, found, strict=True), start=1)
        ]
        with replacing(self.folder / f"{case}.json") as temporary:
            temporary.write_text(json.dumps({"size": list(size), "instances": instances}) + "\n")


def _as_coco(rle: Rle) -> dict[str, Any]:
    return {
        "area": int(coco.area(rle)),
        "bbox": coco.toBbox(rle).tolist(),
        "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
    }
