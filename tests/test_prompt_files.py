"""Prompts as people get them wrong: one line that says what to correct, never a trace."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import LABELS

from samparser_monai.errors import InputError
from samparser_monai.volumes.prompts import COLUMNS, check_prompts, read_prompts

BOX, POINT = [1, 2, 3, 4, 5, 6], [[1, 2, 3]]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"label": ["liver"], "box": BOX}, "unknown label"),
        ({"label": "liver", "points": POINT, "point_labels": [[1]]}, "must be 1 .* or 0"),
        ({"label": "liver", "box": BOX, "point_labels": [1]}, "belongs to 'points'"),
        ({"label": "liver", "points": POINT, "slice": 3}, "belongs to 'box'"),
        ({"label": "liver", "box": BOX[:4], "slice": 1.5}, "slice=1.5 must be a whole number"),
        ({"label": "liver", "box": BOX[:4], "slice": None}, "must be a whole number"),
        ({"label": "liver", "box": [*BOX[:5], float("nan")]}, "must be 6 numbers"),
        ({"label": "liver", "box": BOX, "frame": ["voxel"]}, "unknown frame"),
        ({"mask": None}, "mask=None must be the path"),
        ({"mask": 3}, "mask=3 must be the path"),
    ],
)
def test_prompt_of_another_kind_is_told(prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompts([prompt], "case 'a'", LABELS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a", "line 2: it needs a case, a label"),
        ("\n\na", "line 4: it needs a case, a label"),
        (",liver,voxel,1,2,3,4,5,6,", "line 2: it needs a case, a label"),
        ("a,liver,voxel,1,2,3,,,,no", "a foreground of 1, 0 or none"),
        ("a,liver,voxel,x,2,3,4,5,6,", "line 2: could not convert .* give numbers"),
        ("a,liver,RAS,10,5,20,5,30,0,40,5,60,5,33,0", "line 2 has more cells .*decimal commas"),
        ("a,liver,RAS,10,5,20,5,30,0,,,,", "line 2 has more cells .*decimal commas"),
        ("a,liver,RAS,10,5,20,5,30,0", "line 2 has fewer cells .*decimal commas"),
        ("a,liver,RAS,10,5,20,5,30,0,1", "line 2: foreground='1' belongs to a point"),
        ("a,liver,voxel,1,2,3,14,15,6,0", "line 2: foreground='0' belongs to a point"),
    ],
)
def test_row_that_is_no_prompt_is_told(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + f"\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ({"box": [0.1, 0.2, 0.3, 0.6, 0.7, 0.8]}, True),
        ({"box": [0, 0, 0, 1, 1, 1]}, True),
        ({"box": [0.1, 0.2, 0.6, 0.7], "slice": 9}, True),
        ({"points": [[0.5, 0.5, 0.5]]}, True),
        ({"points": [[0, 1, 1]]}, False),
        ({"box": [0, 0, 0, 1, 1, 2]}, False),
        ({"box": [0.1, 0.2, 0.3, 0.6, 0.7, 0.8], "frame": "RAS"}, False),
    ],
)
def test_shares_of_the_volume_are_told(prompt: dict[str, Any], told: bool) -> None:
    with pytest.raises(InputError, match="shares of the volume") if told else nullcontext():
        check_prompts([{"label": "liver", **prompt}], "case 'a'", LABELS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_people_have(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"ä": [{"label": "liver", "box": []}]}', encoding)
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + "\nä,liver,,1,2,3,4,5,6,\n", encoding)
    assert [list(read_prompts(tmp_path / name)) for name in ("p.json", "p.csv")] == [["ä"]] * 2


@pytest.mark.parametrize("name", ["p.nrrd", "p.nii.gz", "p.txt"])
def test_file_of_another_kind_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"must be a \.json or a \.csv file"):
        read_prompts(tmp_path / name)


def test_case_that_stands_there_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"a": [], "b": [], "a": []}')
    with pytest.raises(InputError, match="'a' stands there twice"):
        read_prompts(tmp_path / "p.json")
