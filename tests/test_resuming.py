"""A training is resumed only as the same training."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_dataset, read_json, run
from monai.transforms import RandFlipd
from torch import nn

from samparser_monai.errors import InputError, root_cause
from samparser_monai.states import digest_of, states_of
from samparser_monai.training.epochs import cosine
from samparser_monai.training.resuming import Settings, checkpoint_of


def settings(**more: Any) -> Settings:
    given: dict[str, Any] = {"epochs": 6, "data": {}, "seed": 1, "load": None}
    return Settings(**given | more)


def saved(folder: Path, epoch: int, of: Settings, weight: float = 1.0) -> None:
    state = {"network": {"w": torch.tensor([weight])}, "settings": of.state_dict()}
    torch.save(state, folder / f"checkpoint_epoch={epoch}.pt")


def test_the_latest_of_the_same_training_is_taken(tmp_path: Path) -> None:
    saved(tmp_path, 25, settings(seed=2))  # of an older one
    saved(tmp_path, 3, settings())
    saved(tmp_path, 4, settings(epochs=9))
    assert Path(checkpoint_of(tmp_path, settings())).name == "checkpoint_epoch=4.pt"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 2}, "seed was 2, is 1"),
        (
            {"load": RandFlipd("image", prob=0.1)},
            "load.RandFlipd.prob was 0.1, is not there",
        ),
        ({"new": 1}, "new was 1, is not there"),
        ({"data": {"train": [{"case": "a"}]}}, r"data \(train\) was \w+, is not there"),
    ],
)
def test_differences_are_named_key_by_key(other: dict, told: str, tmp_path: Path) -> None:
    saved(tmp_path, 3, settings(**other))
    with pytest.raises(InputError, match=told):
        checkpoint_of(tmp_path, settings())


def test_bad_checkpoints_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, 3, settings(), float("nan"))
    with pytest.raises(InputError, match=r"epoch=3.pt holds weights that are not finite"):
        checkpoint_of(tmp_path, settings())
    (tmp_path / "checkpoint_epoch=4.pt").write_bytes(b"PK cut")
    with pytest.raises(InputError, match=r"epoch=4.pt cannot be read.*remove it"):
        checkpoint_of(tmp_path, settings())
    torch.save({"network": {}}, tmp_path / "checkpoint_epoch=4.pt")
    saved(tmp_path, 3, settings(seed=2))
    with pytest.raises(InputError, match="does not say of which training"):
        checkpoint_of(tmp_path, settings())
    saved(tmp_path, 8, settings())
    with pytest.raises(InputError, match=r"epoch=8.pt has more epochs than epochs=6"):
        checkpoint_of(tmp_path, settings())


def test_data_is_told_by_its_files_wherever_they_lie(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "a", 2)
    shutil.copytree(root, tmp_path / "b")  # with the times of the files

    def digest(folder: Path) -> str:
        return digest_of([{"image": str(folder / "images" / "case_0.nii.gz"), "case": "c"}])

    assert digest(root) == digest(tmp_path / "b")
    assert states_of(root) == states_of(tmp_path / "b")
    before = digest(root), states_of(root)
    os.utime(root / "images" / "case_0.nii.gz", (1, 1))
    assert digest(root) != before[0] and states_of(root) != before[1]


def test_cosine_falls_to_zero_and_stays() -> None:
    schedule = cosine(torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=4.0), 4, factor=0.5)
    rates = []
    for _ in range(6):
        rates += schedule.get_last_lr()
        schedule.optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5, 0, 0], abs=1e-12)


def test_more_epochs_go_on_along_their_own_cosine(
    dataset: Path, overrides: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides |= {"dataset_dir": str(dataset), "val_interval": 0, "epochs": 1}
    run("train", "train", run_id="training", **overrides)
    with pytest.raises(Exception) as caught:
        run("train", "train", run_id="training", **overrides | {"resume": True, "seed": 1})
    assert "seed was 2023, is 1" in str(root_cause(caught.value))
    flow = run("train", "train", run_id="training", **overrides | {"resume": True, "epochs": 2})
    assert "resumed after epoch 1 with epochs=2 in place of 1" in caplog.text
    assert "from 0.5 of the full rate to 0" in caplog.text
    assert len(read_json(tmp_path / "eval" / "training.json")["epochs"]) == 2
    rates = [group["lr"] for group in flow.parser.get_parsed_content("optimizer").param_groups]
    assert rates == pytest.approx([0] * len(rates), abs=1e-12)
