"""What viewers send becomes prompts of the volume engine, or one clear error."""

import importlib.util
import re
import tomllib

import numpy as np
import pytest
from conftest import LABELS, ROOT
from hypothesis import given
from hypothesis import strategies as st

from samparser_monai.errors import InputError

spec = importlib.util.spec_from_file_location(
    "label_requests", ROOT / "bundle" / "monailabel" / "lib" / "requests.py"
)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

SHAPE = (20, 30, 10)
ORGANS = list(LABELS)
side = st.integers(-40, 60)


def prompts(dimension: int = 3, **request: object) -> list[dict]:
    return module.prompts_of(request, ORGANS, SHAPE, dimension)


@given(st.tuples(side, side, side, side, side, side))
def test_box_is_within_the_volume_whatever_its_order(roi: tuple[int, ...]) -> None:
    try:
        low, high = module.corners_of(list(roi), SHAPE)
    except InputError:
        pairs = np.sort(np.reshape(roi, (3, 2)), axis=1)
        assert any(high < 0 or low >= side for (low, high), side in zip(pairs, SHAPE, strict=True))
        return
    assert (low <= high).all()
    assert (low >= 0).all()
    assert (high < SHAPE).all()
    turned = [*roi[1::-1], *roi[3:1:-1], *roi[:3:-1]]
    assert np.array_equal(module.corners_of(turned, SHAPE), (low, high))


def test_box_and_clicks_of_one_organ_go_together() -> None:
    roi, fore, back = [9, 2, 4, 8, 0, 5], [[5, 5, 1]], [[1, 1, 1]]
    assert prompts(label="spleen", roi=roi, foreground=fore, background=back) == [
        {"label": "spleen", "box": [2, 4, 0, 9, 8, 5]},
        {"label": "spleen", "points": [[5, 5, 1], [1, 1, 1]], "point_labels": [1, 0]},
    ]


def test_one_slice_takes_what_lies_on_it() -> None:
    points = [[5, 5, 1], [6, 6, 7]]
    (found,) = prompts(2, label="liver", foreground=points, background=[[1, 1, 1]])
    assert found["points"] == [[6, 6, 7]]  # of the last click
    (found,) = prompts(2, label="liver", roi=[2, 9, 4, 8, 2, 6])
    assert found["box"] == [2, 4, 4, 9, 8, 4]  # the middle of the box
    (found,) = prompts(2, label="liver", roi=[2, 9, 4, 8, 2, 6], slice=3)
    assert found["box"] == [2, 4, 3, 9, 8, 3]


def test_two_points_are_a_box_where_that_is_asked_for() -> None:
    corners = [[9, 4, 3], [2, 8, 3]]
    (found,) = prompts(label="liver", foreground=corners, two_points_are_a_box=True)
    assert found == {"label": "liver", "box": [2, 4, 3, 9, 8, 3]}
    (found,) = prompts(label="liver", foreground=corners)
    assert found["points"] == corners


def test_several_organs() -> None:
    found = prompts(rois={"liver": [1, 2, 1, 2, 1, 2], "kidney": [3, 4, 3, 4, 3, 4]})
    assert [p["label"] for p in found] == ["liver", "kidney"]
    found = prompts(liver=[[1, 1, 1]], spleen=[[2, 2, 2]])
    assert [p["label"] for p in found] == ["liver", "spleen"]


def test_organs_by_name() -> None:
    assert module.organs_asked({}, ORGANS) == [{"label": organ} for organ in ORGANS]
    for request in ({"organs": ["spleen"]}, {"label": "spleen"}, {"organs": ["spleen"] * 2}):
        assert module.organs_asked(request, ORGANS) == [{"label": "spleen"}]
    with pytest.raises(InputError, match="train with the option names"):
        module.organs_asked({}, [])
    with pytest.raises(InputError, match="unknown organ by name 'lung'"):
        module.organs_asked({"organs": ["lung"]}, ORGANS)
    with pytest.raises(InputError, match="must be names"):
        module.organs_asked({"organs": {"liver": 1}}, ORGANS)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"label": "liver"}, "place a foreground point, or draw a box"),
        ({"label": "liver", "background": [[1, 1, 1]]}, "only take away"),
        ({"label": "livre", "roi": [0] * 6}, "did you mean 'liver'"),
        ({"roi": [0, 1, 2]}, "six numbers"),
        ({"roi": [50, 60, 0, 1, 0, 1]}, "outside the volume of"),
        ({"foreground": [[0, 0, 10]]}, r"point \[0, 0, 10\] lies outside"),
        ({"foreground": [[0, 0, float("nan")]]}, "all finite"),
        ({"foreground": [[0, "x", 0]]}, "points"),
        ({"foreground": [[1, 1, 1]] * 1001}, "at most 1000"),
        ({"rois": {"heart": [0] * 6}}, "unknown label in rois 'heart'"),
        ({"roi": [0, 1, 0, 1, 0, 1], "slice": "top"}, "a slice number"),
    ],
)
def test_what_cannot_be_a_prompt_is_told(request_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        module.prompts_of(request_, ORGANS, SHAPE, 2)


def test_servers_environment_has_all_that_the_package_needs() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    folder = ROOT / "bundle" / "monailabel"
    pinned = (folder / "requirements.txt").read_text("utf-8").splitlines()
    names = {line.partition("==")[0].lower() for line in pinned}
    pictures = {"imagecodecs"}  # of 16 bits are not served, and it needs numpy 2
    assert {re.split("[>=<]", need)[0].lower() for need in needed} - pictures <= names


def test_a_box_that_its_click_lies_outside_of_is_not_meant() -> None:
    roi = [2, 9, 4, 8, 0, 5]
    (found,) = prompts(label="spleen", roi=roi, foreground=[[15, 25, 2]])
    assert "points" in found
    near = prompts(label="spleen", roi=roi, foreground=[[10, 8, 6]])
    assert ["box" in p for p in near] == [True, False]
    away = prompts(label="spleen", roi=roi, background=[[15, 25, 2]])
    assert away[0]["box"] == [2, 4, 0, 9, 8, 5]
    (found,) = prompts(2, label="spleen", roi=roi, slice=9)  # mm of a viewer, no slice of the box
    assert found["box"] == [2, 4, 2, 9, 8, 2]


def test_fixed_slices_are_checked() -> None:
    assert module.fixed_slices({"fixed": [1, 3]}, 4) == {1, 3}
    for wrong in ([4], [-1], ["1"], 3, [1.5], [True]):
        with pytest.raises(InputError, match="list of slices, from 0 to 3"):
            module.fixed_slices({"fixed": wrong}, 4)
