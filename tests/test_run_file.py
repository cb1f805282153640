"""``run.json``: what a run leaves about itself, and what can be done again by it."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import SMALL, make_dataset, read_json, run

from samparser_monai.commands.app import main
from samparser_monai.errors import Unfinished, root_cause
from samparser_monai.fetch import sha256_of
from samparser_monai.training import manifest
from samparser_monai.training.manifest import files_of

KEYS = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data set, and a training by the command, in a run's folder."""
    monkeypatch.chdir(tmp_path)
    make_dataset(tmp_path / "ct")
    monkeypatch.setenv("SAMPARSER_CACHE", str(tmp_path / "cache"))
    assert main(["train", "ct", "-o", "run", "--method", "lora", *KEYS, "--epochs", "1"]) == 0
    return tmp_path / "run"


def test_training_is_evaluated_and_gone_on_with_by_what_it_left(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = read_json(run_folder / "models" / "run.json")
    assert "--method" not in told["command"] and "configs/methods/lora.json" in told["command"]
    assert told["seconds"] > 0 and told["error"] is None
    assert (told["weights"]["backbone"], told["method"]["name"]) == ("tiny", "lora")
    assert told["options"]["processes"] == 1 and len(told["options"]["trained"]) == 2
    part = run_folder / "models" / "tuned.safetensors"
    assert told["made"]["tuned.safetensors"] == sha256_of(part)
    images = told["inputs"]["dataset_dir"]
    assert (images["files"], images["by"]) == (6, "sha256")
    assert images["each"]["ct/labels/case_0.nii.gz"] == sha256_of(Path("ct/labels/case_0.nii.gz"))

    capsys.readouterr()
    assert main(["evaluate", "-o", "run", "--json", "--box_shifts", "[]", "--pictures", "0"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == read_json(run_folder / "eval" / "run.json")
    assert printed["run"] == "evaluating" and printed["method"]["name"] == "lora"
    assert printed["inputs"]["model_file"]["digest"] == sha256_of(run_folder / "models/model.pt")
    assert (run_folder / "eval" / "summary.json").is_file()

    assert main(["resume", "run", "--epochs", "2"]) == 0
    rows = read_json(run_folder / "eval" / "training.json")["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2]
    capsys.readouterr()
    assert main(["info", "run", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert [one["run"] for one in known.values()] == ["training", "evaluating"]


def evaluated(*options: str) -> int:
    """Evaluate what run_folder's training left, by nothing but its model and these options."""
    keys = [*KEYS, "--box_shifts", "[]", "--pictures", "0", "--method", "lora"]
    return main(["evaluate", "ct", "-o", "other", "--ckpt_dir", "run/models", *keys, *options])


def test_what_trained_does_not_judge(
    run_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert evaluated() == 0
    (case,) = {row["case"] for row in read_json(Path("other/eval/metrics.json"))}
    others = [f"case_{n}" for n in range(3) if f"case_{n}" != case]
    rows = [{"case": c, "image": f"ct/images/{c}.nii.gz"} for c in (case, others[0])]
    rows = [{**row, "label": row["image"].replace("images", "labels")} for row in rows]
    shutil.copytree("ct", "copy", copy_function=shutil.copyfile)  # of another time
    lists = {"training": rows[:1], "validation": rows[1:]}
    Path("swapped.json").write_text(json.dumps(lists).replace("ct/", "copy/"))
    capsys.readouterr()
    for words in (["--dataset_dir", "swapped.json"], ["--tuned", "run/models/tuned.safetensors"]):
        swapped = ["--dataset_dir", "swapped.json", *(words if "--tuned" in words else [])]
        command = ["evaluate", "-o", "again", "--ckpt_dir", "run/models", *KEYS, *swapped]
        assert main([*command, *([] if "--tuned" in words else ["--method", "lora"])]) == 2
        told = capsys.readouterr().err
        assert "1 of the 1 cases that judge run/models/" in told
        assert f"have trained it, the first is '{others[0]}': give the --seed and data" in told
    assert not Path("again/eval/metrics.csv").exists()


def test_model_is_asked_by_the_method_that_trained_it(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated("--step", "absolute") == 2
    told = capsys.readouterr().err
    assert "run/models/model.pt is of a training with another method" in told
    assert "step was relative, is absolute; give the same" in told


def test_what_cannot_be_done_again_is_told(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder.rename("other")
    for folder, message in (
        ("other", "was written in"),
        ("ct", "has no run.json"),
        ("other/eval", "has no run.json"),
    ):
        assert main(["resume", folder]) == 2
        assert message in capsys.readouterr().err


def test_failure_stands_there(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "ct", 2) / "images"
    (data / "case_1.nii.gz").write_bytes(b"no volume")
    boxes = {f"case_{n}": [{"label": "liver", "box": [5, 13, 1, 23, 31, 4]}] for n in range(2)}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    keys = {"dataset_dir": str(data), "prompts": str(tmp_path / "boxes.json")}
    keys |= {"tuned": "published", "backbone": "tiny", "output_dir": str(tmp_path / "out")}
    with pytest.raises(Exception, match="manifest") as error:
        run("inference", "inference", run_id="inference", **keys)
    assert isinstance(root_cause(error.value), Unfinished)
    told = read_json(tmp_path / "out" / "run.json")
    assert told["error"].startswith("1 of 2 cases failed") and told["seconds"] is not None
    assert told["inputs"]["tuned"] == "published" and told["command"] is None


def test_what_is_long_to_hash_goes_by_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    hashed = files_of(str(tmp_path))
    monkeypatch.setattr(manifest, "HASHED", 1)
    assert (hashed["by"], files_of(str(tmp_path))["by"]) == ("sha256", "size and mtime")
    alone = files_of(tmp_path / "a")
    assert alone["by"] == "sha256" and alone["digest"] == sha256_of(tmp_path / "a")
    assert files_of([tmp_path / "a", tmp_path / "b"])["files"] == 2
    assert files_of("published") == "published"
