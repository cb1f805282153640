"""The commands that carry a tuned part on, as people type them, and their bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from closeness import assert_near
from conftest import move

from samparser_monai import methods
from samparser_monai.commands.app import main
from samparser_monai.sam import build
from samparser_monai.tuned.part import open_tuned, save_tuned


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.save(build("tiny").state_dict(), tmp_path / "base.pth")
    return tmp_path / "base.pth"


def part(base: Path, method: str = "coefficients", **options: object) -> str:
    network = getattr(methods, method)(build("tiny", base), **options)
    move(network)
    path = base.with_name(f"{method}.safetensors")
    save_tuned(path, network, {"scenario": "abdomen_ct"}, network.state_dict())
    return str(path)


def test_merged_and_back(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, merged = part(base, decoder="frozen"), str(base.with_name("merged.pth"))
    back, checkpoint = str(base.with_name("back.safetensors")), ["--checkpoint", str(base)]
    assert main(["tuned", "merge", tuned, merged, *checkpoint]) == 0
    unmerge = ["tuned", "unmerge", merged, back, "--backbone", "tiny", *checkpoint]
    assert main([*unmerge, "--window", "wide"]) == 2
    assert "window='wide' cannot be read: write --window" in capsys.readouterr().err
    assert main([*unmerge, "--labels", "{'liver': 6}", "--window", "[-100, 100]"]) == 0
    image = torch.randn(1, 3, 128, 128)
    one, other = (open_tuned(file, base)[0](image) for file in (tuned, back))
    assert_near(one, other)
    capsys.readouterr()
    assert main(["tuned", "show", back, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["method"] == "coefficients" and shown["numbers"] == 64
    assert shown["labels"] == {"liver": 6} and shown["window"] == [-100, 100]


def test_spectrum_and_export(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, folder = part(base), base.with_name("out")
    more = ["--checkpoint", str(base), "--results", str(base.with_name("none"))]
    assert main(["tuned", "spectrum", tuned, str(folder), *more]) == 0
    assert "not known: " in capsys.readouterr().out
    other = base.with_name("other")
    other.mkdir()  # an empty folder is as good as none
    assert main(["tuned", "transformers", tuned, str(other), *more[:2]]) == 0
    names = {path.name for found in (folder, other) for path in found.iterdir()}
    assert names >= {"spectrum.json", "spectrum.png", "model.safetensors", "config.json"}


def spoilt(change: Callable[[Path], object]) -> Callable[[Path], list[str]]:
    """Return the row of a tuned part that is not as it was saved."""

    def arguments(base: Path) -> list[str]:
        tuned = part(base)
        change(Path(tuned))
        return ["merge", tuned, str(base.with_name("out")), "--checkpoint", str(base)]

    return arguments


def with_file(*arguments: str) -> Callable[[Path], list[str]]:
    """Return the row of a command whose words name files beside the base."""
    return lambda base: [a.format(base=base, folder=base.parent) for a in arguments]


BASE = ("--checkpoint", "{base}")
BAD: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing": (with_file("show", "{folder}/no.safetensors"), "no.safetensors cannot be read"),
    "not a tuned part": (with_file("show", "{base}"), "base.pth cannot be read"),
    "cut": (spoilt(lambda p: p.write_bytes(p.read_bytes()[:99])), "cannot be read"),
    "other base": (
        lambda base: ["merge", part(base), str(base.with_name("out"))],
        "made on the base with sha256 ",
    ),
    "no such checkpoint": (
        lambda base: ["merge", part(base), str(base.with_name("out")), "--checkpoint", "/no.pth"],
        "checkpoint='/no.pth' is not a file",
    ),
    "adapter": (
        lambda base: [
            *("merge", part(base, "adapter"), str(base.with_name("out"))),
            *("--checkpoint", str(base)),
        ],
        "method 'adapter' cannot be merged: it adds layers",
    ),
    "output below a file": (
        lambda base: ["merge", part(base), f"{base}/x/out", "--checkpoint", str(base)],
        "cannot be written (Not a directory)",
    ),
    "unknown backbone": (
        with_file("unmerge", "{base}", "{folder}/out", "--backbone", "tyny", *BASE),
        "unknown backbone 'tyny'; did you mean 'tiny'",
    ),
    "merged is missing": (
        with_file("unmerge", "{folder}/no.pth", "{folder}/out", "--backbone", "tiny", *BASE),
        "no.pth' is not a file",
    ),
    "no spectrum": (
        lambda base: [
            *("spectrum", part(base, "decoder_only"), str(base.with_name("out"))),
            *("--checkpoint", str(base)),
        ],
        "method 'decoder_only'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = BAD[name]
    assert main(["tuned", *arguments(base)]) == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("error: ") and message in printed
    assert not base.with_name("out").exists()


@pytest.mark.parametrize("command", ["merge", "onnx"])
def test_nothing_is_replaced(command: str, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = base.read_bytes()
    output = str(base if command == "merge" else base.parent)
    assert main(["tuned", command, part(base), output, "--checkpoint", str(base)]) == 2
    assert "is there already and is not replaced" in capsys.readouterr().err
    assert base.read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["mrege", "a", "b"], ["unmerge", "a", "b"], ["merge"]])
def test_wrong_words_print_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tuned", *arguments]) == 2
    assert "Usage: " in "".join(capsys.readouterr())
