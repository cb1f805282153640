"""Smart Edit: prompts in, a label volume out."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.transform.writer import Writer

from lib.requests import prompts_of
from lib.turns import CLICK, VOLUME
from lib.volumes import OpenVolumes, image_path
from samparser_monai.errors import InputError
from samparser_monai.volumes.organs import organ_values

log = logging.getLogger(__name__)
EXTENSIONS = (".nrrd", ".nii.gz", ".nii", ".mha")


class Segmenter(InferTask):
    """Answer prompts on one slice (``dimension`` 2) or in the whole volume (3).

    Args:
        volumes: that are open, shared by all tasks.
        dimension: what viewers take as the extent of an answer.
        description: for people.
    """

    def __init__(self, volumes: OpenVolumes, dimension: int, description: str) -> None:
        self.volumes = volumes
        labels = {name: value for name, (value, *_) in organ_values(volumes.model.labels).items()}
        # OHIF takes background points under a label of that name; 3D Slicer leaves it out
        super().__init__(InferType.DEEPGROW, {"background": 0, **labels}, dimension, description)

    @staticmethod
    def warm_up() -> None:
        """Let itk load its modules now, not at a clinician's first click."""
        data = {"pred": MetaTensor(torch.zeros(2, 2, 2)), "result_extension": ".nrrd"}
        Path(Writer()(data)[0]).unlink()

    def is_valid(self) -> bool:
        """Say that the task can be used."""
        return True

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show: the tuned parts, the last one first."""
        return {"tuned": self.volumes.model.versions.names(), "two_points_are_a_box": False}

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str, dict]:
        """Return the file of the label volume, and what viewers are told beside it.

        Raises:
            InputError: the request cannot be answered.
        """
        begun = time.monotonic()
        extension = request.get("result_extension") or ".nii.gz"
        if extension not in EXTENSIONS:
            raise InputError(f"result_extension must be one of {EXTENSIONS}, not {extension!r:.80}")
        tuned = request.get("tuned") or "latest"
        tuned = tuned[0] if isinstance(tuned, list) else str(tuned)
        propagate = self.volumes.model.inferer.propagate if self.dimension == 3 else None
        path = image_path(request.get("image"))
        session, tuned = self.volumes.session(path, tuned)
        shape = tuple(session.view.volume.shape[1:])
        prompts = prompts_of(request, list(session.labels), shape, self.dimension)
        opened, rank = time.monotonic(), CLICK if self.dimension == 2 else VOLUME
        with self.volumes.model.turns.taken(rank, f"{request.get('model')} on {Path(path).name}"):
            begun_computing = time.monotonic()
            found = session.segment(prompts, propagate)
        segmented = time.monotonic()
        waited = begun_computing - opened
        log.info(
            "%d slices' features and the answer in %.1f s, after %.1f s of waiting",
            *(session.computed, segmented - begun_computing, waited),
        )
        data = {
            "pred": found.labels()[0],
            "result_extension": extension,
            "result_dtype": "uint8",
            "result_compress": bool(request.get("result_compress", False)),
        }
        file, _ = Writer(nibabel=True)(data)
        written = time.monotonic()
        slices = [(min(m.iou for m in masks), k) for k, masks in found.masks.items() if masks]
        return file, {
            "label_names": self.labels,
            "tuned": tuned,
            "organs": found.table(),
            "least_sure": {"iou": min(slices)[0], "slice": min(slices)[1]} if slices else {},
            "computed_slices": session.computed,
            "latencies": {
                "open": round(opened - begun, 3),
                "wait": round(waited, 3),
                "segment": round(segmented - begun_computing, 3),
                "write": round(written - segmented, 3),
                "total": round(written - begun, 3),
            },
            "centroids": {},
        }
