"""Masks as run lengths, their scores, and the way into the model's frame and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_near
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, SIZE, rectangle, scene
from pycocotools import mask as coco
from pycocotools.coco import COCO
from skimage import draw
from sklearn.metrics import f1_score, jaccard_score

from samparser_monai.geometry.boxes import boxes_of
from samparser_monai.geometry.components import instances_of
from samparser_monai.geometry.frames import coverage, from_frame, mask_in_columns
from samparser_monai.geometry.run_lengths import (
    _lengths,
    boxes_of_rles,
    components,
    rle_of,
    rle_of_segmentation,
)
from samparser_monai.metrics.instances import InstanceScores
from samparser_monai.pictures import custom_items, nwpu_items, voc_items
from samparser_monai.pictures.transforms import Annotationsd, InstanceMasksd, LoadPictured
from samparser_monai.training.losses import BoxPromptLoss
from samparser_monai.training.transforms import IntoFramed, LoosenBoxesd, RandInstancesd

quick = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def random_masks(seed: int, count: int = 2, share: float = 0.4) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.random((count, *random.integers(1, 24, 2))) < share


@given(seeds)
@quick
def test_run_lengths_are_the_mask(seed: int) -> None:
    mask = random_masks(seed)[0]
    rle = rle_of(mask)
    assert np.array_equal(coco.decode(rle), mask)
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    assert list(_lengths(rle["counts"])) == np.diff([0, *changes, mask.size]).tolist()
    for segmentation in (rle, {**rle, "counts": rle["counts"].decode()}):
        assert rle_of_segmentation(segmentation, mask.shape) == rle
    if mask.any():
        assert boxes_of_rles([rle]).tolist() == boxes_of(mask[None]).tolist()


@given(seeds)
@quick
def test_components_are_those_of_ct(seed: int) -> None:
    mask = random_masks(seed)[0]
    _, wanted = instances_of(mask.astype(np.uint8), min_area=2)
    found = [coco.decode(rle).astype(bool) for rle in components(mask, 2)]
    assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in wanted)


def test_polygon_is_its_mask_and_is_cut_at_the_border() -> None:
    _, mask = scene(0)[1][0]
    rle = rle_of_segmentation([rectangle(mask)], SIZE)
    assert coco.area(rle) == mask.sum() and np.array_equal(coco.decode(rle), mask)
    assert coco.area(rle_of_segmentation([[60, 40, 70, 40, 70, 60, 60, 60]], SIZE)) == 4 * 8


def test_annotations_are_what_pycocotools_makes_of_them(tmp_path: Path) -> None:
    """Polygons and both kinds of RLE, pixel by pixel, in area and in IoU."""
    LAYOUTS["nwpu"](tmp_path)
    theirs = COCO(tmp_path / "annotations.json")
    numbers = {image["file_name"]: number for number, image in theirs.imgs.items()}
    found = nwpu_items(tmp_path)
    for item in found["train"] + found["validation"]:
        wanted = theirs.imgToAnns[numbers[item["case"]]][:-1]  # without the crowd
        for ours, annotation in zip(item["annotations"], wanted, strict=True):
            assert np.array_equal(coco.decode(ours["rle"]), theirs.annToMask(annotation))
            assert coco.area(ours["rle"]) == coco.area(theirs.annToRLE(annotation))
            assert coco.iou([ours["rle"]], [theirs.annToRLE(annotation)], [0])[0, 0] == 1


@given(seeds)
@quick
def test_scores_are_those_of_others(seed: int) -> None:
    """On random masks: scikit-learn's Jaccard and F1, pycocotools' IoU."""
    prediction, truth = random_masks(seed)
    assume(truth.any())
    scores = InstanceScores()
    scores.update([judged(prediction, truth)])
    (row,) = scores.instances().to_dict("records")
    flat = truth.ravel(), prediction.ravel()
    assert row["iou"] == pytest.approx(100 * jaccard_score(*flat))
    assert row["f1"] == pytest.approx(100 * f1_score(*flat))
    assert row["iou"] == pytest.approx(
        100 * coco.iou([rle_of(prediction)], [rle_of(truth)], [0])[0, 0]
    )


def judged(prediction: np.ndarray, truth: np.ndarray, **more: object) -> dict:
    masks = {"prediction": rle_of(prediction), "truth": rle_of(truth)}
    return {"case": "a", "instance": 0, "label": "ship", **masks, **more}


def test_averages_by_hand() -> None:
    """IoU 1 and 0 in one picture, 1 in another: 2/3 of instances, 3/4 of pictures, ..."""
    one, other = np.eye(4, dtype=bool), np.eye(4, dtype=bool)[::-1]
    scores = InstanceScores()
    scores.update([judged(one, one), judged(other, one, instance=1)])
    scores.update([judged(one, one, case="b", label="harbor")])
    averages = scores.averages()
    assert averages["miou"] == averages["f1"] == pytest.approx(100 * 2 / 3)
    assert averages["miou_over_pictures"] == pytest.approx(75)
    assert averages["f1_over_categories"] == pytest.approx(75)
    assert scores.summary() == pytest.approx({"ship": 50, "harbor": 100, "mean": 100 * 2 / 3})
    scores.update([judged(one, one)])  # once more, as a sampler pads: it is counted once
    assert scores.compute() == pytest.approx(100 * 2 / 3)


def shape(kind: str, random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a shape anywhere in a picture, more than 20 pixels high and wide."""
    sides = [random.uniform(21.5, side - 1) for side in size]
    centre = [random.uniform(s / 2, side - s / 2) for s, side in zip(sides, size, strict=True)]
    angles = np.linspace(0, 2 * np.pi, {"rectangle": 4, "star": 16, "ellipse": 200}[kind], False)
    reach = np.tile([1, 0.6], 8)[:, None] if kind == "star" else 1
    if kind == "rectangle":
        angles, reach = angles + np.pi / 4, np.sqrt(2)
    circle = np.stack([np.sin(angles), np.cos(angles)], 1) * reach
    return draw.polygon2mask(size, centre + circle * np.array(sides) / 2)


@given(
    seeds,
    st.sampled_from(["rectangle", "ellipse", "star"]),
    st.integers(24, 1500),
    st.integers(24, 1500),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_mask_comes_back_from_the_frame(seed: int, kind: str, height: int, width: int) -> None:
    mask = torch.from_numpy(shape(kind, np.random.default_rng(seed), (height, width)))
    framed = coverage(mask[None], 1024, 1024)
    back = from_frame(framed[None] - 0.5, (height, width), 1024)[0, 0] > 0
    least = 0.95 if kind == "star" else 0.99  # tips thinner than a pixel of the frame are lost
    assert (back & mask).sum() / (back | mask).sum() >= least


def test_void_is_asked_for_nowhere(tmp_path: Path) -> None:
    """Neither loss nor score changes with what a model says of the void."""
    item = voc_items(LAYOUTS["voc"](tmp_path)["dataset_dir"])["train"][0]
    assert item["annotations"][0]["label"] == "boat"
    void = coco.decode(item["ignored"]).astype(bool)
    assert void.any()
    framed = IntoFramed(64, 64, (0, 0, 0), (1, 1, 1))(Annotationsd()(LoadPictured()(item)))
    truth = framed["label"]
    assert torch.equal(truth[0, 0, :48] < 0, torch.from_numpy(void))
    logits = torch.where(truth > 0.5, 3.0, -3.0).requires_grad_()
    other = torch.where(truth < 0, 9.0, logits)
    loss = BoxPromptLoss(focal=1.0)
    assert loss(logits, truth) == loss(other, truth) != loss(-logits, truth)
    (gradient,) = torch.autograd.grad(loss(logits, truth), logits)
    assert (gradient[truth < 0] == 0).all() and (gradient[truth > 0] != 0).all()

    batch = {key: [framed[key]] for key in ("case", "size", "annotations", "boxes", "ignored")}
    for pred in (logits, other):
        scores = InstanceScores()
        scores.update(InstanceMasksd("pred", 64)({**batch, "pred": pred})["judged"])
        assert scores.compute() == pytest.approx(100)


def test_instances_of_a_step_are_bounded(tmp_path: Path) -> None:
    item = custom_items(**LAYOUTS["custom"](tmp_path))["train"][0]
    item = IntoFramed(64, 16, (0, 0, 0), (1, 1, 1))(Annotationsd()(LoadPictured()(item)))
    choose = RandInstancesd(2)
    seen = set()
    for seed in range(20):
        choose.set_random_state(seed)
        chosen = choose(item)
        places = [int((item["boxes"] == box).all(1).nonzero()) for box in chosen["boxes"]]
        assert torch.equal(chosen["label"], item["label"][places])
        assert torch.equal(choose(item)["boxes"], chosen["boxes"])
        seen.add(tuple(places))
    assert seen == {(0, 1), (0, 2), (1, 2)}
    assert torch.equal(RandInstancesd(3)(item)["boxes"], item["boxes"])


def test_boxes_are_the_same_for_every_method_and_grow_with_the_shift() -> None:
    item = {"case": "a.jpg", "size": (100, 100), "boxes": torch.tensor([[40.0, 40, 60, 60]])}
    boxes = [LoosenBoxesd(distance, 1024)(item)["boxes"] for distance in (0, 20, 20, 50)]
    assert torch.equal(boxes[0], item["boxes"]) and torch.equal(boxes[1], boxes[2])
    # float32 on the picture's side
    assert_near(boxes[0] + 2.5 * (boxes[1] - boxes[0]), boxes[3], share=1e-6)


@pytest.mark.parametrize("size", [(90, 61), (40, 130)])
def test_masks_laid_out_in_columns_are_the_same_masks(size: tuple[int, int]) -> None:
    logits = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = (from_frame(logits[None], size, 128)[0, 0] > 0).numpy()
    turned = mask_in_columns(logits, size, 128)
    assert turned.flags.f_contiguous and np.array_equal(turned, plain)
    assert rle_of(turned) == rle_of(plain) == coco.encode(np.asfortranarray(plain, np.uint8))
