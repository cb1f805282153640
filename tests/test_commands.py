"""The commands as people type them: the right files, no unknown keys."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, make_dataset
from layouts import save, scene
from typer.main import get_command

from samparser_monai import monai_command as script
from samparser_monai.commands import running
from samparser_monai.commands.app import app, main
from samparser_monai.commands.segment import shows_pictures
from samparser_monai.errors import InputError
from samparser_monai.monai_command import keys_of
from samparser_monai.shipped import shipped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training", "--learning_rat", "1"], "unknown config key 'learning_rat'"),
        (["training", "--decoder_rat", "1"], "did you mean 'decoder_rate'"),
        (["training", "--method", "decoder_onyl"], "did you mean 'decoder_only'"),
        (["trianing"], "did you mean 'training'"),
        (["training", "1"], "unexpected argument '1'"),
        *(
            (
                ["training", "--method", method, "--space", "both"],
                f"space=both: the method {method} has no space; .*"
                "bases, bases_and_coefficients, coefficients, s_sam, salt$",
            )
            for method in ("lora", "svft", "fact", "adapter", "norms", "full", "zero_shot")
        ),
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        script.command(arguments)


def test_a_space_is_for_methods_that_have_one() -> None:
    both = ["training", "--space", "both"]
    assert "both" in script.command(both) and "both" in script.command([*both, "--method", "salt"])
    assert "neck" in script.command(["training", "--method", "lora", "--space", "neck"])
    of_a_study = script.command([*both, "--method", "lora", "--rank", "2"], ignore=True)
    assert of_a_study[-2:] == ["--rank", "2"]  # of all cells: those have it whose method does
    files = [ROOT / "configs" / "train.json", ROOT / "configs" / "methods" / "lora.json"]
    with pytest.raises(InputError, match="lora has no space"):  # as resume and evaluate do
        script.command_with("training", files, {"space": "both"})


def test_options_of_monai_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = script.command(["training", "--tracking", "mlflow", "--epochs=2"])
    assert found[-4:] == ["--tracking", "mlflow", "--epochs", "2"]


def test_command_is_printed_and_its_failure_is_one_line() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "samparser_monai", "train", "/does/not/exist"),
            *("--method", "decoder_only"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    files = "['configs/train.json', 'configs/methods/decoder_only.json']"
    assert shlex.split(done.stdout.splitlines()[0])[3:7] == [
        "run",
        "training",
        "--config_file",
        files,
    ]
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: dataset_dir='/does/not/exist' does not exist")
    )
    assert "Traceback" not in done.stderr


def made(*arguments: str) -> list[str]:
    """Return the lines of a dry run of make."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "-n", *arguments],
        cwd=ROOT,
        env={**environment, "OPTIONS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_first_command_says_what_it_does_in_keys_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *commands = made("train")
    (training,) = (shlex.split(line) for line in commands if " run training " in line)
    assert "tune 8 epochs on 20 slices" in first and "minutes on two free cores" in first
    assert {"--epochs": "8", "--train_size": "20"}.items() <= dict(
        zip(training[7::2], training[8::2], strict=True)
    ).items()
    monkeypatch.chdir(ROOT)
    assert script.command(["training", *training[7:]])


def test_options_take_the_whole_recipe() -> None:
    (training,) = (line for line in made("train", "OPTIONS=--epochs 25") if " training " in line)
    assert training.endswith("configs/train.json  --epochs 25")
    assert not any("train_size" in line for line in made("train", "OPTIONS=--seed 1"))


def commands(group: Any) -> dict[str, Any]:
    """Return every command under its words."""
    found = {}
    for name, one in group.commands.items():
        below = commands(one) if hasattr(one, "commands") else {"": one}
        found |= {f"{name} {rest}".strip(): command for rest, command in below.items()}
    return found


EVERY = commands(get_command(app))


@pytest.mark.parametrize("words", EVERY)
def test_every_command_has_help_with_an_example_that_it_understands(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--help"]) == 0
    lines = capsys.readouterr().out.partition("Example:")[2].splitlines()
    examples = [line.strip() for line in lines if line.strip()]
    assert examples and all(line.startswith(f"samparser {words}") for line in examples)
    known = {option for given in EVERY[words].params for option in given.opts}
    if EVERY[words].context_settings.get("ignore_unknown_options"):
        known |= {f"--{key}" for key in keys_of([shipped("configs") / "train.json"])}
    typed = {word for line in examples for word in line.split() if word.startswith("-")}
    assert typed <= known


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """Return the options that ask SAM as published, tiny, for a liver in every case."""
    box = {"label": "liver", "box": [5, 13, 1, 23, 31, 4]}
    (tmp_path / "boxes.json").write_text(json.dumps({f"case_{n}": [box] for n in range(2)}))
    options = ["--prompts", str(tmp_path / "boxes.json"), "--tuned", "published"]
    return [*options, "--backbone", "tiny", "-o", str(tmp_path / "out")]


def test_several_files_are_segmented_and_program_reads_json_alone(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_dataset(tmp_path / "ct", 2) / "images"
    files = sorted(map(str, images.iterdir()))
    assert main(["segment", *asked, "--json", *files]) == 0
    told, out = json.loads(capsys.readouterr().out), tmp_path / "out"
    assert (told["run"], told["inputs"]["dataset_dir"]["path"]) == ("inference", files)
    assert {path.name for path in out.glob("*.nii.gz")} == {"case_0.nii.gz", "case_1.nii.gz"}
    (images / "case_1.nii.gz").write_bytes(b"no volume")
    assert main(["segment", str(images), *asked]) == 1  # the other one is done
    assert "error: 1 of 2 cases failed" in capsys.readouterr().err
    assert main(["segment", *files, *asked[:-1], str(images)]) == 2
    assert "must not be written to" in capsys.readouterr().err


def test_pictures_are_known_by_their_endings(asked: list[str], tmp_path: Path) -> None:
    picture = save(tmp_path / "in" / "a.png", scene(0)[0])
    boxes = {"a": [{"box": [4, 4, 20, 16]}]}
    for name in ("boxes.json", "in/coco.json"):  # what lies beside pictures tells nothing
        (tmp_path / name).write_text(json.dumps(boxes))
    assert main(["segment", str(picture.parent), *asked]) == 0
    assert main(["segment", str(picture), *asked, "--resume"]) == 2  # a key of volumes
    assert (tmp_path / "out" / "a.json").is_file() and (tmp_path / "out" / "run.json").is_file()


def test_preview_beside_dicom_files_without_endings_is_no_picture(tmp_path: Path) -> None:
    save(tmp_path / "preview.jpg", scene(0)[0])
    (tmp_path / "notes").write_text("of the scan")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert shows_pictures([tmp_path])
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    assert not shows_pictures([tmp_path])
    assert shows_pictures([tmp_path / "preview.jpg"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("segment -o out", "name what to segment"),
        ("segment no.nii.gz -o out", "no.nii.gz does not exist"),
        ("segment . -o out --plan axial", "unknown config key 'plan'; did you mean 'plane'"),
        ("segment . -o out --tuned .", "has no tuned.safetensors"),
        ("train a b", "unexpected argument 'b'"),
        ("train . --scenario nwpo", "did you mean 'nwpu'"),
        ("resume .", "has no run.json"),
        ("info .", "has no run.json"),
        ("fetch mobilesam", "did you mean 'mobile_sam'"),
        ("serve no_folder", "is no folder and no address"),
        ("bundle --model a --tuned b", "give one"),
        ("benchmark trainin", "did you mean 'training'"),
        ("tables", "has no study"),
    ],
)
def test_what_is_typed_wrong_is_one_line(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("error: ") and message in printed
    assert not list(tmp_path.iterdir())


def test_interrupted_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_here", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"


def test_cache_loses_what_can_be_made_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPARSER_CACHE", str(tmp_path))
    for name in ("features/00/a", "slices/b", "mobile_sam.pt", "mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    assert main(["cache", "clear", "--json"]) == 2  # it would have to ask
    assert main(["cache", "clear", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == {"features": 5, "slices": 5}
    assert {path.name for path in tmp_path.iterdir()} == {"mobile_sam.pt", "mine.txt"}
    assert main(["cache", "clear", "--yes", "--fetched"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_installation_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert told["devices"][0]["threads"] == 1
