"""What goes wrong with one item names its case, in one line, also from a loader's process."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import Dataset
from monai.data.utils import set_rnd
from monai.transforms import Compose, RandGaussianNoised

from samparser_monai.errors import InputError, root_cause
from samparser_monai.training.loader import FeatureLoader


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
    loader = FeatureLoader(dataset, num_workers=workers)
    with pytest.raises(Exception) as caught:
        list(loader)
    assert str(root_cause(caught.value)) == message


def test_seed_reaches_what_draws_at_random() -> None:
    draw = Compose([prepare, RandGaussianNoised("image", prob=1.0)])
    loaders = [FeatureLoader(Dataset([{"case": "good"}], transform)) for transform in (draw, draw)]
    drawn = []
    for loader in loaders:
        set_rnd(loader.dataset, seed=7)
        drawn.append(next(iter(loader))["image"])
    assert torch.equal(*drawn) and drawn[0].std() > 0
    set_rnd(loader.dataset, seed=8)
    assert not torch.equal(next(iter(loader))["image"], drawn[0])


def test_processes_are_refused_where_they_could_not_talk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("t" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    FeatureLoader(Dataset([], prepare))
    with pytest.raises(InputError, match=r"num_workers=2: .*set TMPDIR to a shorter one"):
        FeatureLoader(Dataset([], prepare), num_workers=2)
