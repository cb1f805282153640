"""Files are read in the encodings that people have, and what is given is not written to."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from samparser_monai.errors import InputError
from samparser_monai.files import hold, keep_apart, let_go, read_json, visible


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_unicode_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps({"ä": 1}, ensure_ascii=False).encode(encoding))
    assert read_json(tmp_path / "a.json") == {"ä": 1}


@pytest.mark.parametrize(
    ("content", "told"), [("ä".encode("latin-1"), "UTF-8"), (b"{", "not JSON"), (b"", "not JSON")]
)
def test_other_files_are_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "' + content if content[:1] > b"~" else content)
    with pytest.raises(InputError, match=told):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("output", "source", "apart"),
    [
        ("ct", "ct", False),
        ("ct/out", "ct", False),
        (".", "ct", False),
        ("link", "ct", False),
        ("out", "ct", True),
        ("ct2", "ct", True),
        ("ct", "ct/a.nii", False),
        (".", "ct/a.nii", False),
        ("ct/out", "ct/a.nii", True),
        ("ct", "missing", True),
    ],
)
def test_outputs_are_kept_apart_from_inputs(
    tmp_path: Path, output: str, source: str, apart: bool
) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "a.nii").touch()
    (tmp_path / "link").symlink_to("ct")
    arguments = ({"output_dir": tmp_path / output}, {"dataset_dir": tmp_path / source, "no": None})
    if apart:
        keep_apart(*arguments)
        return
    with pytest.raises(InputError, match=r"output_dir.*dataset_dir"):
        keep_apart(*arguments)


@pytest.mark.parametrize(
    "name",
    "._a.nii.gz .DS_Store .thumbnails @eaDir #recycle Thumbs.db desktop.ini __MACOSX".split(),
)
def test_what_systems_leave_is_not_visible(name: str) -> None:
    assert not visible(Path("images") / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "#3 (1).png", "@x $y", "_a", "2012", "Thumbs.db.png"])
def test_what_people_name_is_visible(name: str) -> None:
    assert visible(Path(".cache") / name)


def test_folder_has_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    hold(folder)
    hold(folder)  # a process may write there again
    other = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    let_go(folder)
    let_go(folder)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(InputError, match=r"another run writes to .*out'.*name another folder"):
        hold(folder)
    monkeypatch.setenv("RANK", "1")  # of a run whose first process has looked
    hold(folder)
    monkeypatch.delenv("RANK")
    os.close(other)
    hold(folder)
    let_go(folder)
    assert not list(folder.iterdir())
