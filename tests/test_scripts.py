"""The short form of the command: the right files, no unknown keys."""

import shlex
import subprocess
import sys

import pytest
import run as script
from conftest import ROOT

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
            sys.executable,
            "scripts/run.py",
            "training",
            "--method",
            "decoder_only",
            "--dataset_dir",
            "/does/not/exist",
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
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("error: dataset_dir='/does/not/exist' does not exist")
    )
    assert "Traceback" not in done.stderr
