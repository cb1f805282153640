"""Instances, boxes and frames: exact where pixels are whole, bounded where they are resampled."""

import numpy as np
import pytest
import torch
from closeness import assert_near
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from samparser_monai.errors import InputError
from samparser_monai.geometry.boxes import boxes_of, loosen_boxes
from samparser_monai.geometry.components import instances_of
from samparser_monai.geometry.frames import coverage, frame_scale, framed, from_frame, into_frame
from samparser_monai.training.transforms import (
    LoosenBoxesd,
    RandClicksd,
    RandLoosenBoxesd,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)


def label(*rows: str) -> np.ndarray:
    return np.array([[int(c) for c in row.replace(".", "0")] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("picture", "min_area", "values", "areas"),
    [
        (label("11..11"), 1, [1, 1], [2, 2]),  # a left and a right kidney
        (label("11.2", "11.2"), 1, [1, 2], [4, 2]),
        (label("1122", "1122"), 1, [1, 2], [4, 4]),  # organs that touch stay apart
        (label("1..", ".1.", "..1"), 1, [1], [3]),  # a diagonal is one: 8 neighbours
        (label("11.1"), 2, [1], [2]),
        (label("11.1"), 3, [], []),
        (label("...."), 1, [], []),
    ],
)
def test_instances_are_components(
    picture: np.ndarray, min_area: int, values: list[int], areas: list[int]
) -> None:
    found, masks = instances_of(picture, min_area)
    assert found.tolist() == values
    assert masks.shape == (len(values), *picture.shape)
    assert masks.sum((1, 2)).tolist() == areas
    assert all((picture[mask] == value).all() for value, mask in zip(found, masks, strict=True))


def test_box_of_one_pixel() -> None:
    mask = np.zeros((1, 6, 9), bool)
    mask[0, 3, 5] = True
    assert boxes_of(mask).tolist() == [[5, 3, 5, 3]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
@quick
def test_box_is_tight(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.2
    assume(mask.any())
    x0, y0, x1, y1 = boxes_of(mask[None])[0].astype(int)
    assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()
    assert mask[y0].any() and mask[y1].any() and mask[:, x0].any() and mask[:, x1].any()


@given(
    st.tuples(*[st.integers(0, 19)] * 4),
    st.tuples(*[st.floats(0, 100, width=32)] * 4),
)
@quick
def test_loosened_box_holds_the_box_and_stays_in_the_picture(
    sides: tuple[int, ...], shift: tuple[float, ...]
) -> None:
    (x0, x1), (y0, y1) = sorted(sides[::2]), sorted(sides[1::2])
    box = torch.tensor([[x0, y0, x1, y1]], dtype=torch.float32)
    (left, top, right, bottom) = loosen_boxes(box, torch.tensor([shift]), (20, 24))[0].tolist()
    assert 0 <= left <= x0 <= x1 <= right <= 23
    assert 0 <= top <= y0 <= y1 <= bottom <= 19
    assert torch.equal(loosen_boxes(box, torch.zeros(1, 4), (20, 24)), box)


def test_each_side_moves_by_its_own_shift() -> None:
    box, shift = torch.tensor([[5.0, 6, 7, 8]]), torch.tensor([[1.0, 2, 3, 4]])
    assert loosen_boxes(box, shift, (20, 20)).tolist() == [[4, 4, 10, 12]]


@given(st.integers(20, 3000), st.integers(20, 3000), st.sampled_from([1024, 256, 128]))
@settings(quick, max_examples=200)
def test_frame_is_that_of_segment_anything(height: int, width: int, frame: int) -> None:
    sam = ResizeLongestSide(frame)
    scale, size = frame_scale((height, width), frame)
    assert size == sam.get_preprocess_shape(height, width, frame)
    box = torch.tensor([[3.0, 7, width - 1, height - 1]])
    theirs = sam.apply_boxes_torch(box, (height, width))
    assert_near(box * scale, theirs, share=1e-6)  # float32 rounding


def test_padding_is_right_and_below() -> None:
    found = into_frame(torch.ones(3, 10, 40), 64)
    assert found.shape == (3, 64, 64)
    assert_near(found[:, :16], torch.ones(3, 16, 64), share=1e-5)  # weights that sum up to 1
    assert not found[:, 16:].any()


def test_a_grey_picture_becomes_what_its_three_channels_become() -> None:
    picture = 255 * torch.rand(1, 40, 70, generator=torch.Generator().manual_seed(0))
    mean, std = (120.0, 110.0, 100.0), (58.0, 57.0, 56.0)
    grey = framed(picture, 128, mean, std)
    assert torch.equal(grey, framed(picture.expand(3, -1, -1), 128, mean, std))
    scaled = (picture - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert_near(grey, into_frame(scaled, 128), share=1e-5)  # what was done once, in that order


@pytest.mark.parametrize("size", [(3, 5000), (5000, 1), (1, 1), (1, 129)])
def test_a_line_keeps_a_row_of_the_frame(size: tuple[int, int]) -> None:
    picture = into_frame(torch.full((1, *size), 7.0), 128)
    assert float(picture.max()) == pytest.approx(7, rel=1e-5)
    covered = coverage(torch.ones(1, *size), 128, 32)
    assert covered.max() > 0
    assert (from_frame(torch.ones(1, 1, 32, 32), size, 128) > 0).all()


def test_coverage_is_the_share_of_each_pixel() -> None:
    mask = torch.zeros(1, 4, 8)
    mask[0, 0, :3] = 1
    assert coverage(mask, 16, 4).tolist()[0] == [[0.5, 0.25, 0, 0], *[[0] * 4] * 3]
    # 24 rows of 36 become 43 in a frame of 64: 10.75 low-resolution pixels
    whole = coverage(torch.ones(1, 24, 36), 64, 16)[0, :, 0]
    assert_near(whole, torch.tensor([1.0] * 10 + [0.75] + [0] * 5), share=1e-5)  # float32 sums


def ellipse(size: tuple[int, int], centre: tuple, axes: tuple, angle: float) -> np.ndarray:
    y, x = np.indices(size)
    y, x = y - centre[0] * size[0], x - centre[1] * size[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1


def rectangle(size: tuple[int, int], centre: tuple, axes: tuple, _: float) -> np.ndarray:
    y, x = np.indices(size)
    return (abs(y - centre[0] * size[0]) <= axes[0]) & (abs(x - centre[1] * size[1]) <= axes[1])


# 1200 random shapes of each kind, at least 20 pixels wide, came back with an IoU of at least 0.979
# from pictures of up to 512 (CT) and 0.943 from those of up to 1024, where a low-resolution pixel
# is four of the source's, and five of them are the width of the shape.
@pytest.mark.parametrize(("largest", "bound"), [(512, 0.97), (1024, 0.93)])
@given(data=st.data())
@quick
def test_mask_comes_back_through_the_frame(largest: int, bound: float, data: st.DataObject) -> None:
    def pair(kind: object, low: float, high: float) -> tuple:
        return data.draw(st.tuples(kind(low, high), kind(low, high)))

    shape = data.draw(st.sampled_from([ellipse, rectangle]))
    size = pair(st.integers, 32, largest)
    angle = data.draw(st.floats(0, 3.14))
    mask = shape(size, pair(st.floats, 0.2, 0.8), pair(st.floats, 10, 100), angle)
    assume(min(np.ptp(where) for where in np.nonzero(mask)) >= 19)
    low = coverage(torch.from_numpy(mask)[None], 1024, 256)[None]
    back = from_frame(low - 0.5, size, 1024)[0, 0].numpy() > 0
    assert (back & mask).sum() / (back | mask).sum() >= bound


def item(number: int = 0) -> dict:
    boxes = torch.tensor([[30.0, 30, 60, 60], [70, 70, 90, 90]])
    return {"boxes": boxes, "case": "a", "slice": number, "size": (128, 128)}


def test_validation_asks_each_slice_with_the_same_boxes() -> None:
    loosen = LoosenBoxesd(distance=100, image_size=128)
    once = loosen(item(0))["boxes"]
    other = loosen(item(1))["boxes"]
    assert torch.equal(loosen(item(0))["boxes"], once)
    assert torch.equal(LoosenBoxesd(100, 128)(item(0))["boxes"], once)
    assert not torch.equal(other, once)
    assert not torch.equal(LoosenBoxesd(100, 128, seed=1)(item(0))["boxes"], once)
    moved = (once - item()["boxes"]).abs()
    assert 0 < moved.max() <= 100 * 128 / 1024  # a smaller frame takes its share


def test_a_share_of_the_training_boxes_stays_tight() -> None:
    tight = item()["boxes"].repeat(100, 1)
    loose = {share: RandLoosenBoxesd(100, 128, share) for share in (0.0, 0.5, 1.0)}
    moved = {n: (x({**item(), "boxes": tight})["boxes"] - tight).any(1) for n, x in loose.items()}
    assert moved[0.0].all() and not moved[1.0].any()
    assert 70 < moved[0.5].sum() < 130  # of 200
    with pytest.raises(InputError, match=r"tight_share=1\.5 must be from 0 to 1"):
        RandLoosenBoxesd(100, 128, 1.5)


def clickable(count: int = 100) -> dict:
    label = torch.zeros(count, 1, 32, 32)
    label[:, :, 20:24, 4:7] = 1
    label[::2] *= 0.4  # what is too thin for a pixel of its own
    return {**item(), "boxes": torch.zeros(count, 4), "label": label, "size": (128, 128)}


def test_a_share_of_what_trains_is_asked_for_by_a_click_inside_it() -> None:
    found = {n: RandClicksd(n, 128)(clickable(400))["clicks"] for n in (0.0, 0.5, 1.0)}
    asked = {n: clicks[:, 2] == 1 for n, clicks in found.items()}
    assert not asked[0.0].any() and not asked[1.0][::2].any() and asked[1.0][1::2].all()
    assert 70 < asked[0.5].sum() < 130  # of 200
    x, y, _ = (found[1.0][1::2] + 0.5).unbind(1)  # of pixels of the square, four to a label's
    assert (x // 4).unique().tolist() == [4, 5, 6]
    assert (y // 4).unique().tolist() == [20, 21, 22, 23]
    named = {**clickable(), "names": torch.tensor([0] * 50 + [-1] * 50)}
    assert not (RandClicksd(1.0, 128)(named)["clicks"][:50, 2] == 1).any()
    clicks = RandClicksd(0.5, 128).set_random_state(3)
    one = clicks(clickable())["clicks"]
    assert torch.equal(clicks(clickable())["clicks"], one)
    assert not torch.equal(clicks.set_random_state(4)(clickable())["clicks"], one)
    with pytest.raises(InputError, match=r"click_share=-1 must be from 0 to 1"):
        RandClicksd(-1, 128)


def test_training_draws_new_boxes_in_every_epoch_and_follows_the_seed() -> None:
    loosen = RandLoosenBoxesd(distance=100, image_size=128)

    def draws(seed: int) -> list[torch.Tensor]:
        loosen.set_random_state(seed)
        return [loosen(item(n))["boxes"] for n in (0, 1)]

    first, other = draws(0), draws(1)
    backwards = [loosen.set_random_state(0)(item(n))["boxes"] for n in (1, 0)]
    assert torch.equal(first[0], backwards[1]) and torch.equal(first[1], backwards[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
