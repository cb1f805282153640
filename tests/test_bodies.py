"""Where the body lies, whatever its window shows of it."""

import numpy as np
import pytest
import torch

from samparser_monai.geometry.bodies import body_box

BODY = (60, 100, 200, 160)  # left, top, right, bottom, in a picture of 256


def picture(*boxes: tuple[int, int, int, int], grey: float = 120.0) -> np.ndarray:
    found = np.zeros((256, 256), np.float32)
    for left, top, right, bottom in boxes:
        found[top:bottom, left:right] = grey
    return found


def found_in(pixels: np.ndarray) -> torch.Tensor:
    return body_box(torch.from_numpy(pixels), 1024) / 4


def test_a_body_is_its_largest_piece() -> None:
    arms = [(30, 120, 50, 140), (210, 120, 230, 140)]
    table = (10, 172, 245, 174)
    assert found_in(picture(BODY, *arms, table)).tolist() == list(BODY)
    assert found_in(np.zeros((256, 256), np.float32)).tolist() == [0, 0, 256, 256]


@pytest.mark.parametrize("gap", [8, 16, 22])
def test_where_fat_is_black_the_body_is_its_organs_together(gap: int) -> None:
    left, top, right, bottom = BODY
    liver, spine = (left, top, 130 - gap // 2, bottom), (130 + gap // 2, top, 150, bottom)
    kidney = (150 + gap, top + 20, right, bottom)
    table = (10, 172, 245, 174)
    pieces = picture(liver, spine, kidney, table)
    assert found_in(pieces).tolist() == list(BODY)
    assert found_in(np.maximum(pieces, picture(BODY, grey=30.0))).tolist() == list(BODY)
