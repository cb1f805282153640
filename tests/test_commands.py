"""The commands as people type them: the right files, no unknown keys."""

import os
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

from samparser_monai import monai_command as script
from samparser_monai.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training", "--learning_rat", "1"], "unknown config key 'learning_rat'"),
        (["training", "--decoder_rat", "1"], "did you mean 'decoder_rate'"),
        (["training", "--method", "decoder_onyl"], "did you mean 'decoder_only'"),
        (["trianing"], "did you mean 'training'"),
        (["training", "1"], "unexpected argument '1'"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message):
        script.command(arguments)


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
