"""Smart Edit: prompts in, a label volume out."""

import logging
import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.asked import Asked
from lib.requests import organs_asked, prompts_of
from lib.turns import BATCH, CLICK, VOLUME
from lib.volumes import OpenVolumes, image_path
from lib.writing import EXTENSIONS, written
from samparser_monai.errors import InputError
from samparser_monai.volumes.organs import organ_values
from samparser_monai.volumes.prompts import refines
from samparser_monai.volumes.segmentation import Segmentation

log = logging.getLogger(__name__)
AUTO = "samparser_auto"


class Segmenter(InferTask):
    """Answer prompts on one slice (``dimension`` 2) or in the whole volume (3).

    Args:
        volumes: that are open, shared by all tasks.
        dimension: what viewers take as the extent of an answer.
        description: for people.
        kind: of task, by which viewers choose the panel.
    """

    def __init__(
        self,
        volumes: OpenVolumes,
        dimension: int,
        description: str,
        kind: InferType = InferType.DEEPGROW,
    ) -> None:
        self.volumes = volumes
        labels = {name: value for name, (value, *_) in organ_values(volumes.model.labels).items()}
        # OHIF takes background points under a label of that name; 3D Slicer leaves it out
        super().__init__(kind, {"background": 0, **labels}, dimension, description)

    def is_valid(self) -> bool:
        """Say that the task can be used."""
        return True

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show: the tuned parts, the last one first."""
        return {
            "tuned": self.volumes.model.versions.names(),
            "two_points_are_a_box": False,
            "go_on": True,
            "lock_others": False,
            "save": False,
        }

    def prompts(self, asked: Asked) -> list[dict[str, Any]]:
        """Return what a request asks of a volume, beside what is there."""
        organs = list(asked.session.labels)
        return asked.going_on(prompts_of(asked.request, organs, asked.shape, self.dimension))

    def names_of(self, found: Segmentation) -> dict[str, int]:
        """Return name -> value of the segments, as viewers are told."""
        return self.labels

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str, dict]:
        """Return the file of the label volume, and what viewers are told beside it.

        Raises:
            InputError: the request cannot be answered.
        """
        begun = time.monotonic()
        extension = request.get("result_extension") or ".nii.gz"
        if extension not in EXTENSIONS:
            raise InputError(f"result_extension must be one of {EXTENSIONS}, not {extension!r:.80}")
        compress = bool(request.get("result_compress", False))
        tuned = request.get("tuned") or "latest"
        tuned = tuned[0] if isinstance(tuned, list) else str(tuned)
        path = image_path(request.get("image"))
        session, tuned = self.volumes.session(path, tuned)
        asked = Asked(request, session, self.volumes.history, self.dimension)
        if request.get("undo"):
            return written(asked.undone(), extension, compress), {
                "label_names": self.labels,
                "tuned": tuned,
            }
        prompts = self.prompts(asked)
        few = self.dimension == 2 or all(refines(p) and "box" not in p for p in prompts)
        opened, rank = time.monotonic(), CLICK if few else VOLUME
        rank = BATCH if "_image_id" in request else rank  # which MONAI Label's batches add
        engine = self.volumes.model.inferer
        with self.volumes.model.turns.taken(rank, f"{request.get('model')} on {Path(path).name}"):
            computing = time.monotonic()
            propagate = engine.propagate if self.dimension == 3 else None
            found = session.segment(prompts, propagate, engine.naming)
        segmented = time.monotonic()
        log.info(
            "%d slices' features and the answer in %.1f s, after %.1f s of waiting",
            *(session.computed, segmented - computing, computing - opened),
        )
        answer = asked.remembered(found.labels(), prompts)
        file = written(answer, extension, compress)
        ended = time.monotonic()
        doubts = asked.doubts(found)
        for doubt in doubts:
            log.warning("%s", doubt)
        slices = [(min(m.iou for m in masks), k) for k, masks in found.masks.items() if masks]
        if rank != BATCH:
            self.volumes.ahead.near(session.beside(), asked.looked_at())
        return file, {
            "label_names": self.names_of(found),
            "tuned": tuned,
            "organs": found.table(),
            "warnings": doubts,
            "least_sure": {"iou": min(slices)[0], "slice": min(slices)[1]} if slices else {},
            "computed_slices": session.computed,
            "goes_on": sorted({p["label"] for p in prompts if refines(p)}),
            "latencies": {
                "open": round(opened - begun, 3),
                "wait": round(computing - opened, 3),
                "segment": round(segmented - computing, 3),
                "write": round(ended - segmented, 3),
                "total": round(ended - begun, 3),
            },
            "centroids": {},
        }


class Scribbler(Segmenter):
    """Let strokes of a brush change what there is of an organ, in the whole volume."""

    def __init__(self, volumes: OpenVolumes, description: str) -> None:
        super().__init__(volumes, 3, description, InferType.SCRIBBLES)

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show."""
        options = super().config()
        return {key: options[key] for key in ("tuned", "lock_others", "save")}

    def prompts(self, asked: Asked) -> list[dict[str, Any]]:
        """Return the strokes as clicks, beside what is there."""
        return asked.scribbled()


class Finder(Segmenter):
    """Find all organs by their names, where the tuned part has learned them: nothing is placed."""

    def __init__(self, volumes: OpenVolumes, description: str) -> None:
        super().__init__(volumes, 3, description, InferType.SEGMENTATION)

    def is_valid(self) -> bool:
        """Say that the part that answers now has names; without, viewers are not offered this."""
        return bool(self.volumes.model.names())

    def info(self) -> dict[str, Any]:
        """Return what viewers show, of the organs that the part knows by name."""
        known = self.volumes.model.names()
        labels = {organ: value for organ, value in self.labels.items() if organ in known}
        return {**super().info(), "labels": labels}

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show."""
        options = super().config()
        return {key: options[key] for key in ("tuned", "save")}

    def prompts(self, asked: Asked) -> list[dict[str, Any]]:
        """Return the organs that are asked for by name."""
        known = asked.session.network.named_prompts
        return organs_asked(asked.request, [] if known is None else known.organs)

    def names_of(self, found: Segmentation) -> dict[str, int]:
        """Return the organs that were found: 3D Slicer names segments in the order of these."""
        organs = {row["organ"] for row in found.table() if row["slices"]}
        return {organ: value for organ, value in self.labels.items() if organ in organs}
