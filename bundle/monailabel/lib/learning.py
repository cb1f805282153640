"""Where to label next, how good the answers were, and answers for a whole folder."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from lib.infer import AUTO
from lib.labels import organs_of, read_label
from lib.model import Model
from lib.teaching import labelled
from samparser_monai.errors import InputError
from samparser_monai.metrics.scores import dice
from samparser_monai.volumes.organs import organ_values

log = logging.getLogger(__name__)


class LeastSure(Strategy):
    """Propose the unlabelled volume, and its slice, where the predicted IoU was least."""

    def __init__(self) -> None:
        super().__init__("The volume, and the slice, where the model was least sure")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return {id, iou, slice}; volumes that were never asked come last."""
        waiting = []
        for image in datastore.get_unlabeled_images():
            told = datastore.get_image_info(image).get("least_sure") or {}
            waiting.append((told.get("iou", 2.0), image, told))
        if not waiting:
            return None
        _, image, told = min(waiting, key=lambda row: row[:2])
        return {"id": image, **told}


class OrganScore(ScoringMethod):
    """DSC in percent of each organ between the labels of two tags."""

    def __init__(self, model: Model) -> None:
        super().__init__("DSC of each organ between the final labels and the original answers")
        self.model = model

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Return image -> organ -> DSC, and note it beside the images."""
        tags = (
            request.get("y", DefaultLabelTag.FINAL),
            request.get("y_pred", DefaultLabelTag.ORIGINAL),
        )
        truths, answers = ({i["case"]: i for i in labelled(datastore, tag)} for tag in tags)
        found = {}
        for image in truths.keys() & answers.keys():
            one, other = (
                organs_of(
                    read_label(side[image]["label"], image), side[image]["info"], self.model.labels
                ).numpy()
                for side in (truths, answers)
            )
            found[image] = {}
            for organ, (value, *_) in organ_values(self.model.labels).items():
                truth, answer = one == value, other == value
                if truth.any() or answer.any():
                    score = dice((truth & answer).sum(), truth.sum() + answer.sum())
                    found[image][organ] = round(float(score), 2)
            if scores := list(found[image].values()):
                about = {"dsc": found[image], "dice": np.mean(scores) / 100}
                datastore.update_image_info(image, about)
        return found


class BatchSegmenter(BatchInferTask):
    """Answer for many volumes; one that cannot be answered is told, and the rest go on.

    Prompts come under ``prompts``, image -> what a viewer would send, or from coarse label
    volumes that lie in the datastore under ``prompt_tag``; organs by name need neither.
    """

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable
    ) -> dict[str, Any]:
        """Return image -> what infer returned, or {"error": ...}."""
        coarse = {} if request.get("model") == AUTO else {"prompt_tag": "coarse"}
        options = {"multi_gpu": torch.cuda.is_available(), **coarse, **request}
        options["multi_gpu"] &= torch.cuda.is_available()  # clients send True from any machine

        def answer(one: dict[str, Any], store: Datastore) -> dict[str, Any]:
            try:
                return infer(one, store)
            except InputError as error:
                log.warning("%s: %s", one["image"], error)
                return {"error": str(error)}

        return super().__call__(options, datastore, answer)
