"""What goes wrong with one item names its case, in one line, also from a loader's process."""

from typing import Any

import pytest
import torch
from monai.data import Dataset

from samparser_monai.errors import InputError, root_cause
from samparser_monai.loader import FeatureLoader
from samparser_monai.sam import build


def prepare(item: dict[str, Any]) -> dict[str, Any]:
    if item["case"] == "bad":
        try:
            raise OSError("cut\nshort")
        except OSError as error:
            raise RuntimeError("applying transform <object at 0x7f>") from error
    if item["case"] == "told":
        raise InputError("told.nii.gz is damaged")
    return {**item, "image": torch.zeros(3, 8, 8)}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("case", "message"),
    [("bad", "case 'bad': OSError: cut short"), ("told", "told.nii.gz is damaged")],
)
def test_failure_names_its_case(case: str, message: str, workers: int) -> None:
    dataset = Dataset([{"case": "good"}, {"case": case}], prepare)
    loader = FeatureLoader(dataset, build("tiny"), None, num_workers=workers)
    with pytest.raises(Exception) as caught:
        list(loader)
    assert str(root_cause(caught.value)) == message
