"""Many cases overnight: one that fails does not stop the rest, and all can be resumed."""

import json
import logging
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.data import Dataset
from monai.engines import SupervisedEvaluator

from samparser_monai.errors import InputError, told
from samparser_monai.files import DiskFull, keep_apart
from samparser_monai.states import digest_of
from samparser_monai.volumes.segmentation import Segmentation

log = logging.getLogger(__name__)
Item = dict[str, Any]


class CaseDataset(Dataset):
    """The cases of this process that are to be done; what goes wrong with one becomes its item.

    With torchrun, process r of n takes every n-th case.

    Args:
        data: items {image, case, prompts, error?}.
        transform: of an item.
        output_dir: where ``resume`` looks for what is done.
        resume: leave out the cases that were finished there, of the same files and prompts.

    Attributes:
        made_of: case -> a hash of its files' states and its prompts, which its record keeps.

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
        self.made_of = {item["case"]: digest_of([item]) for item in own}
        if resume:
            count = len(own)
            own = [item for item in own if not self._is_done(Path(output_dir), item["case"])]
            log.info("%d cases are finished, %d are to be done", count - len(own), len(own))
        for item in own:
            if "error" in item:
                log.warning("%s: %s", item["case"], item["error"])
        super().__init__(own, transform)

    def _is_done(self, folder: Path, case: str) -> bool:
        """Tell whether a case was finished in ``folder``, of the same files and prompts."""
        path = record_file(folder, case)
        if not (path.exists() and (folder / f"{case}.nii.gz").exists()):
            return False
        record = json.loads(path.read_text())
        same = record.get("made_of") == self.made_of[case]
        if "error" not in record and not same:
            log.warning("%s was made of other files or prompts: it is done again", case)
        return same and "error" not in record

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


def record_file(folder: Path, case: str) -> Path:
    """Return the file that says what became of a case."""
    return folder / "records" / f"{case}.json"
