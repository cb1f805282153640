"""What became of many cases: a record to each, and at the end a table and a page."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events

from samparser_monai.errors import Unfinished, told, writable
from samparser_monai.files import DiskFull, replacing
from samparser_monai.volumes.batch import CaseDataset, CaseEvaluator, Item, record_file
from samparser_monai.volumes.label_volumes import read_labels_like
from samparser_monai.volumes.page import draw_case, write_page
from samparser_monai.volumes.segmentation import Segmentation

log = logging.getLogger(__name__)
Scores = Callable[[np.ndarray, np.ndarray, np.ndarray, str], dict[str, float]]


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
        record: Item = {"case": case, "made_of": self.dataset.made_of[case]}
        if error is None:
            try:
                record |= self._describe(output["pred"], item, output["found"])
            except DiskFull:
                raise
            except Exception as raised:  # its label volume cannot be used
                error = told(raised)
        if error is not None:
            if (self.folder / f"{case}.nii.gz").exists():  # of an earlier run, or not to be used
                error += f"; the {case}.nii.gz that lies there is not its answer"
            record["error"] = error
            log.error("%s failed: %s", case, error)
        for warning in record.get("warnings", []):
            log.warning("%s: %s", case, warning)
        record["seconds"] = round(time.monotonic() - self.begun, 1)
        with replacing(record_file(self.folder, case)) as temporary:
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
        paths = {case: record_file(self.folder, case) for case in self.dataset.cases}
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
            json.loads(record_file(folder, record["case"]).read_text())  # with its picture, in turn
            for record in sorted(records, key=quality)
        ),
        totals,
    )


def _without_picture(path: Path) -> Item:
    """Return a record as it is kept in memory with thousands of others."""
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "picture"}


def _doubts(organ: np.ndarray, iou: float, by_name: bool) -> list[str]:
    """Say why people should look at an organ (CxRxS) themselves."""
    if not organ.any():
        remedy = " by its name; where it is there, give a prompt, or --naming#least_best 0"
        return ["nothing was found" + remedy * by_name]
    doubts = ["it reaches the first slice"] * bool(organ[..., 0].any())
    doubts += ["it reaches the last slice"] * bool(organ[..., -1].any())
    return doubts + [f"the predicted IoU is only {iou:.2f}"] * (iou < 0.7)
