"""Many cases overnight: one that fails is reported, the rest go on, and all can be resumed."""

import json
import logging
import math
import os
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines import SupervisedEvaluator

from samparser_monai.errors import InputError, Unfinished, told, writable
from samparser_monai.files import DiskFull, keep_apart, replacing
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.page import draw_case, write_page
from samparser_monai.volumes.segmentation import Segmentation

log = logging.getLogger(__name__)
Item = dict[str, Any]
Scores = Callable[[np.ndarray, np.ndarray, np.ndarray, str], dict[str, float]]


class CaseDataset(Dataset):
    """The cases of this process that are to be done; what goes wrong with one becomes its item.

    With torchrun, process r of n takes every n-th case.

    Args:
        data: items {image, case, prompts, error?}.
        transform: of an item.
        output_dir: where ``resume`` looks for what is done.
        resume: leave out the cases that were finished there.

    Raises:
        InputError: two cases, or an input of one, would be one file of output_dir.
    """

    def __init__(
        self,
        data: Sequence[Item],
        transform: Any,
        output_dir: str | Path,
        resume: bool = False,
    ) -> None:
        self.cases = [item["case"] for item in data]
        check_case_names(self.cases)
        for item in data:
            keep_apart({"output_dir": output_dir}, _inputs(item))
        rank, world = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.shares = [self.cases[r::world] for r in range(world)]
        own = list(data[rank::world])
        if resume:
            count = len(own)
            own = [item for item in own if not _done(Path(output_dir), item["case"])]
            log.info("%d cases are finished, %d are to be done", count - len(own), len(own))
        for item in own:
            if "error" in item:
                log.warning("%s: %s", item["case"], item["error"])
        super().__init__(own, transform)

    def _transform(self, index: int) -> Item:
        item = self.data[index]
        try:
            if "error" in item:
                raise InputError(item["error"])
            return super()._transform(index)
        except Exception as error:  # as text: its stack would hold the volume
            return {"case": item["case"], "error": told(error)}


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator for batches of one case, which a case that fails does not stop.

    What was found is in the output under ``found``, beside the label volume under ``pred``; or one
    line about what was raised, under ``error``.
    """

    def _iteration(self, engine: "CaseEvaluator", batchdata: dict[str, Any]) -> Any:
        (error,) = batchdata.get("error", [None])
        if error is None:
            try:
                found: list[Segmentation] = []
                (output,) = super()._iteration(engine, {**batchdata, "found": found})
                engine.state.output = [{**output, "found": found.pop()}]
                return engine.state.output
            except (DiskFull, KeyboardInterrupt):
                raise
            except Exception as raised:
                error = told(raised)
        engine.state.output = [{"error": error}]
        return engine.state.output


class CaseReport:
    """Note what became of each case; at the end write ``cases.csv`` and ``index.html``.

    A case's record, ``records/<case>.json``, is written after its volume: where it is, the case
    is finished. Each process writes the tables over the records of all.

    Args:
        output_dir: of the label volumes.
        dataset: a CaseDataset.
        scores: (prediction, truth, spacing, organ) -> {name: figure}, where truth is known.

    Raises:
        Unfinished: at the end, if a case has failed.
    """

    def __init__(
        self,
        output_dir: str | Path,
        dataset: CaseDataset,
        scores: Scores | None = None,
    ) -> None:
        self.folder = writable("output_dir", output_dir)
        self.dataset, self.scores = dataset, scores
        self.begun = 0.0

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._completed)
        engine.add_event_handler(Events.COMPLETED, self._finished)

    def _started(self, engine: Engine) -> None:
        self.begun = time.monotonic()

    def _completed(self, engine: CaseEvaluator) -> None:
        item = self.dataset.data[engine.state.iteration - 1]
        case = item["case"]
        (output,) = engine.state.output
        error = output.get("error")
        record: Item = {"case": case}
        if error is None:
            try:
                record |= self._describe(output["pred"], item, output["found"])
            except DiskFull:
                raise
            except Exception as raised:  # its label volume cannot be used
                error = told(raised)
        if error is not None:
            record["error"] = error
            log.error("%s failed: %s", case, error)
        for warning in record.get("warnings", []):
            log.warning("%s: %s", case, warning)
        record["seconds"] = round(time.monotonic() - self.begun, 1)
        with replacing(_record(self.folder, case)) as temporary:
            temporary.write_text(json.dumps(record))

    def _describe(self, pred: Any, item: Item, found: Segmentation) -> Item:
        """Return the rows, warnings and picture of a case that went well."""
        labels, values = found.view.seen(pred), found.values
        truth = None
        if "truth" in item:
            truth = found.view.seen(
                read_labels_like(found.view.volume, item["truth"], found.values)
            )
        spacing = found.view.spacing
        rows, warnings = [], list(found.warnings)
        if self.scores is not None and truth is None:
            warnings.append("it has no label volume: it is not scored")
        for row in found.table():
            organ = labels == values[row["organ"]][0]
            volume = float(organ.sum() * spacing.prod() / 1000)
            rows.append({"organ": row["organ"], "ml": round(volume, 1)})
            if found.by_name:
                rows[-1]["asked by"] = "name" if row["organ"] in found.by_name else "prompt"
            rows[-1] |= {"slices": int(organ.any((0, 1)).sum()), "iou": round(row["iou"], 3)}
            if self.scores is not None and truth is not None:
                known = np.isin(truth, values[row["organ"]])
                rows[-1] |= self.scores(organ, known, spacing, row["organ"])
            doubts = _doubts(organ, row["iou"], row["organ"] in found.by_name)
            warnings += [f"{row['organ']}: {text}" for text in doubts]
        picture = draw_case(found.view.values[0].as_tensor().numpy(), labels, truth, values)
        return {"rows": rows, "warnings": warnings, "picture": picture}

    def _finished(self, engine: Engine) -> None:
        cases = self.dataset.cases
        records, ended = self._records()
        written: list[Item] | None = None
        while written != ended:
            # again where another process has come to its end: its tables may be those replaced;
            # one that goes on writes them when it ends, and is not waited for
            write_tables(self.folder, records, len(cases))
            written = ended
            records, ended = self._records()
        if failed := [record for record in records if "error" in record]:
            raise Unfinished(
                f"{len(failed)} of {len(cases)} cases failed, the first is "
                f"{failed[0]['case']!r}: {failed[0]['error']}"
            )

    def _records(self) -> tuple[list[Item], list[Item]]:
        """Return the records of all cases that were tried, and of these the shares that ended."""
        paths = {case: _record(self.folder, case) for case in self.dataset.cases}
        known = {case: _without_picture(path) for case, path in paths.items() if path.exists()}
        done = [share for share in self.dataset.shares if known.keys() >= set(share)]
        return list(known.values()), [known[case] for share in done for case in share]


def write_tables(folder: Path, records: Sequence[Item], count: int) -> None:
    """Write ``cases.csv``, a row to a case and organ, and ``index.html``, the worst case first.

    Args:
        folder: of both files, and of the records with their pictures.
        records: of the cases that were tried.
        count: how many cases there are.
    """
    rows = []
    for record in records:
        known = {"seconds": record["seconds"], "warnings": "; ".join(record.get("warnings", []))}
        for row in record.get("rows") or [{}]:
            rows.append({"case": record["case"], **row, **known, "error": record.get("error", "")})
    table = pd.DataFrame(rows, columns=None if rows else ["case"])
    with replacing(folder / "cases.csv") as temporary:
        table.to_csv(temporary, index=False)
    measure = next((name for name in ("dsc", "iou") if name in table), None)
    totals = []
    if measure is not None:
        figures = [name for name in ("iou", "dsc", "nsd") if name in table]
        for organ, group in table.groupby("organ", sort=False):
            totals.append({"organ": organ, "cases": int(group[measure].count())})
            for name in figures:
                totals[-1] |= {
                    f"{name} {what}": round(float(getattr(group[name], what)()), 3)
                    for what in ("mean", "median", "min")
                }
    failed = sum("error" in record for record in records)
    summary = f"{len(records)} of {count} cases were tried, {failed} failed."
    if measure is not None:
        by = {"iou": "predicted IoU", "dsc": "DSC"}[measure]
        summary += f" The worst come first, by {by}."

    def quality(record: Mapping[str, Any]) -> float:
        if "error" in record:
            return -1.0
        return min((row[measure] for row in record["rows"] if measure in row), default=math.inf)

    write_page(
        folder / "index.html",
        "Cases",
        summary,
        (
            json.loads(_record(folder, record["case"]).read_text())  # with its picture, in turn
            for record in sorted(records, key=quality)
        ),
        totals,
    )


def check_case_names(cases: Sequence[str]) -> None:
    """Raise an InputError unless each case can have a file of its own in a folder.

    Disks differ in whether they tell ``A`` from ``a``, and one form of an accent from another.
    """
    known: dict[str, str] = {}
    for case in cases:
        if {"", ".", ".."} & set(case.split("/")) or "\0" in case:
            raise InputError(
                f"case {case!r} cannot be the name of a file in output_dir: give the volume another"
            )
        key = unicodedata.normalize("NFC", case).casefold()
        if key in known:
            raise InputError(
                f"the cases {known[key]!r} and {case!r} would be written to one file: name them "
                "apart, by 'case' in a datalist, say"
            )
        known[key] = case


def _inputs(item: Item) -> dict[str, str]:
    """Return the files of a case under what they are."""
    prompts = item["prompts"] if isinstance(item["prompts"], list) else []
    masks = [prompt.get("mask") for prompt in prompts if isinstance(prompt, dict)]
    files = {"image": item["image"] or None, "label": item.get("truth")}
    files |= {f"mask {n}": mask for n, mask in enumerate(masks)}
    paths = {what: file for what, file in files.items() if isinstance(file, str | Path)}
    return {f"{what} of case {item['case']!r}": str(file) for what, file in paths.items()}


def _record(folder: Path, case: str) -> Path:
    return folder / "records" / f"{case}.json"


def _without_picture(path: Path) -> Item:
    """Return a record as it is kept in memory with thousands of others."""
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "picture"}


def _done(folder: Path, case: str) -> bool:
    """Tell whether a case was finished in ``folder``."""
    path = _record(folder, case)
    whole = path.exists() and (folder / f"{case}.nii.gz").exists()
    return whole and "error" not in json.loads(path.read_text())


def _doubts(organ: np.ndarray, iou: float, by_name: bool) -> list[str]:
    """Say why people should look at an organ (CxRxS) themselves."""
    if not organ.any():
        remedy = " by its name; where it is there, give a prompt, or --naming#least_best 0"
        return ["nothing was found" + remedy * by_name]
    doubts = ["it reaches the first slice"] * bool(organ[..., 0].any())
    doubts += ["it reaches the last slice"] * bool(organ[..., -1].any())
    return doubts + [f"the predicted IoU is only {iou:.2f}"] * (iou < 0.7)
