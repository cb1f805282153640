"""The viewer's Train button: tune on the saved labels, keep what is better, and only that."""

import logging
import re
import time
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.model import LATEST, Model
from lib.names import checked_name
from lib.runs import SIDES, Runs
from lib.teaching import check_labels, labelled, learned_from, training_items
from samparser_monai.errors import InputError, at_least

log = logging.getLogger(__name__)
Scores = dict[str, float]
"""DSC in percent of each organ, and their ``mean``."""
WHAT = {"train": "learned from", "validation": "compared on"}


class Tuner(TrainTask):
    """Fine-tune on the labels of tag ``final`` through the bundle's own train.json.

    Args:
        model: that is tuned.
        runs: where a training works.
        patient: a pattern for the patient in an image's name, see ``labelled``.
    """

    def __init__(self, model: Model, runs: Runs, patient: str = "") -> None:
        super().__init__("Tune SAM's coefficients and decoder on the labels of tag final")
        self.model, self.runs, self.patient = model, runs, patient
        try:
            re.compile(patient)
        except re.error as error:
            raise InputError(
                f"--conf patient {patient!r:.80} is no regular expression: {error}"
            ) from error

    def config(self) -> dict[str, Any]:
        """Return the options that viewers show."""
        tuned = self.model.versions.names()
        return {"max_epochs": 10, "name": "", "tuned": tuned, "names": bool(self.model.names())}

    def stats(self) -> dict[str, Any]:
        """Return what the last training said, and all before it; how far one is that runs.

        3D Slicer's bar shows ``epoch`` of ``total_epochs``, or nothing where ``total_time`` says
        that all is done.
        """
        history = self.model.versions.history()
        last = next((row for row in reversed(history) if "dsc_after" in row), {})
        metric = {"best_metric": last["dsc_after"] / 100} if last else {}
        told = {**last, **metric, "history": history}
        note = self.runs.started() if self.runs.busy() else None
        if note is None:
            return {**told, "total_time": last.get("seconds", 0) or "none yet"}
        return {**told, "epoch": note.get("epoch", 0), "total_epochs": note.get("total_epochs", 1)}

    def check(self, request: dict[str, Any], datastore: Datastore) -> tuple[str, str, list[Any]]:
        """Return the name, the parent and the labels of a training, before it is started.

        Raises:
            InputError: an option or a label that cannot be used.
        """
        at_least(1, max_epochs=request.get("max_epochs", 10))
        name = checked_name("name", request.get("name") or time.strftime("%Y%m%d_%H%M%S"))
        if name in self.model.versions.names():
            raise InputError(f"name={name!r} is taken: give another, or none")
        if not isinstance(request.get("names", False), bool):
            raise InputError(f"names={request['names']!r:.80} must be true or false")
        parent = request.get("tuned") or LATEST
        parent = parent[0] if isinstance(parent, list) else str(parent)
        items = labelled(datastore, pattern=self.patient)
        check_labels(items, datastore, self.model.labels)
        return name, self.model.versions.resolve(parent), items

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, compare with the parent on the same validation, and keep the better one.

        Raises:
            InputError: see check; another training is running.
        """
        name, parent, items = self.check(request, datastore)
        about = check_labels(items, datastore, self.model.labels)
        for case, one in about.items():
            shown, left_out = (_counted(one[key]) for key in ("organs", "left_out"))
            log.info("%s: shows %s; left out: %s", case, shown, left_out)
        names = bool(request.get("names") or self.model.names(parent))
        begun = time.monotonic()
        with self.runs.begin() as work:
            split, by = training_items(items, self.model.labels, work / "labels", names)
            epochs = request.get("max_epochs", 10)
            scores = self._train(parent, split, work, epochs, names)
            row = {
                **{"name": name, "parent": parent, "labels": len(items), "validated_on": by},
                "learned_from": learned_from(items, split, about),
                "seconds": round(time.monotonic() - begun),
            }
            return self._judge(row, scores, work / "models" / "tuned.safetensors")

    def _judge(self, row: dict[str, Any], scores: tuple[Scores, Scores], made: Path) -> Any:
        """Keep the tuned part that a training has made if it is better, and say so."""
        before, after = ({organ: round(d, 2) for organ, d in one.items()} for one in scores)
        accepted = scores[1]["mean"] > scores[0]["mean"]
        row |= {"dsc_before": before.pop("mean"), "dsc_after": after.pop("mean")}
        row |= {"organs": {o: {"before": before.get(o), "after": d} for o, d in after.items()}}
        row["accepted"] = accepted
        self.model.versions.add(made, row)
        verdict = (
            f"is kept and answers from now on as {row['name']!r}"
            if accepted
            else f"is not better than {row['parent']!r}, which goes on answering"
        )
        for side in SIDES:
            told = [case for case, one in row["learned_from"].items() if side in one["sides"]]
            log.info("%s: %s", WHAT[side], ", ".join(told))
        for organ, dsc in row["organs"].items():
            log.info("%s: DSC %s before, %.2f after", organ, dsc["before"], dsc["after"])
        log.info(
            "DSC on %s: %.2f before, %.2f after: the training %s",
            *(row["validated_on"], row["dsc_before"], row["dsc_after"], verdict),
        )
        return row

    def _names_decoder(self, parent: str) -> dict[str, str]:
        """Return which decoder answers names: that of a parent with names."""
        known = self.model.network(parent).named_prompts
        if known is None:
            return {}
        return {"name_decoder": "shared" if known.decoder is None else "own"}

    def _train(
        self, parent: str, split: dict[str, Any], work: Path, epochs: int, names: bool
    ) -> tuple[Scores, Scores]:
        """Return the DSC in percent of the parent and of the best epoch."""
        configs = self.model.bundle / "configs"
        flow = ConfigWorkflow(
            config_file=str(configs / "train.json"),
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            bundle_root=str(self.model.bundle),
            items=split,
            ckpt_dir=str(work / "models"),
            output_dir=str(work / "eval"),  # apart from the labels, which are read
            cache_dir=str(self.runs.features),
            epochs=epochs,
            names=names,
            **self._names_decoder(parent),
            val_interval=1,
            min_volume=0,
            **{"dataset#cache_dir": str(work), "labels": self.model.labels, **self.model.overrides},
        )
        flow.run_id = "run"
        flow.initialize()
        network = flow.parser.get_parsed_content("network")
        begun_with = self.model.network(parent).state_dict()
        # of a parent without names they begin as ever
        network.load_state_dict({**network.state_dict(), **begun_with})
        trainer = flow.parser.get_parsed_content("train#trainer")
        self.runs.progress(0, epochs)
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: self.runs.progress(engine.state.epoch, epochs)
        )
        flow.parser.get_parsed_content("validate#fill")
        validator = flow.parser.get_parsed_content("validate#evaluator")
        metric, scores = flow.parser.get_parsed_content("metric"), list[Scores]()
        validator.add_event_handler(Events.COMPLETED, lambda: scores.append(metric.summary()))
        validator.run()  # also makes the parent the best so far
        flow.run()
        flow.finalize()
        return scores[0], max(scores[1:], key=lambda one: one["mean"])


def _counted(voxels: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n} voxels)" for name, n in voxels.items()) or "nothing"
