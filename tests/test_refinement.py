"""What is there of an organ, and what prompts may change of it."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import AFFINES, LABELS, ct, run, save_volume
from monai.data import MetaTensor
from scipy import ndimage

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.geometry.frames import coverage
from samparser_monai.sam import backbone_named, build
from samparser_monai.volumes.asking import Ask
from samparser_monai.volumes.prompts import check_prompts
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.session import VolumeSession

IMAGE, TRUTH = ct(0)
LIVER, KIDNEY = TRUTH == 1, TRUTH == 2
INSIDE, OUTSIDE = [14, 22, 3], [3, 36, 3]


def volume_of(values: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(values))[None], affine=AFFINES["LPS"])


@pytest.fixture
def session() -> VolumeSession:
    image = volume_of(IMAGE.clip(0, 255).astype(np.float32))
    image.meta["filename_or_obj"] = "case.nii.gz"
    network = methods.coefficients(build("tiny"))
    return VolumeSession(image, network, backbone_named("tiny"), LABELS)


@pytest.fixture
def knowing(session: VolumeSession, monkeypatch: pytest.MonkeyPatch) -> VolumeSession:
    """A session on a network that knows the truth, and counts how often it is asked."""

    def answer(asks: list[Ask]) -> list[Mask]:
        session.computed += len(asks)
        truth = session.view.seen(volume_of(LIVER))
        shown = [torch.from_numpy(truth[:, :, ask.k].T.copy()) for ask in asks]
        shares = [coverage([one], session.backbone.image_size, 64)[0] for one in shown]
        return [Mask(a.label, (s - 0.5) * 16, 1.0) for a, s in zip(asks, shares, strict=True)]

    monkeypatch.setattr(session, "answer", answer)
    return session


def refined(
    session: VolumeSession, draft: np.ndarray, *, flat: bool = False, **prompt: Any
) -> np.ndarray:
    asked = {"label": "liver", "mask": volume_of(draft.astype(np.uint8)), **prompt}
    return session.segment([asked], None if flat else Propagation()).labels().numpy()[0]


def clicked(*points: list[int], kinds: list[int] | None = None) -> dict[str, Any]:
    return {"points": list(points), "point_labels": kinds or [1] * len(points)}


def test_a_click_that_says_what_is_there_changes_nothing(session: VolumeSession) -> None:
    found = refined(session, LIVER, **clicked(INSIDE, OUTSIDE, kinds=[1, 0]))
    assert np.array_equal(found, LIVER)
    assert session.computed == 0


def test_a_click_changes_what_is_wrong_about_it_on_its_slices_alone(
    knowing: VolumeSession,
) -> None:
    draft = LIVER.copy()
    draft[15:, :, 1:4] = False  # where the click is
    draft[:8, :, 5] = False  # elsewhere
    found = refined(knowing, draft, **clicked([17, 22, 2])) > 0
    assert (found & ~draft)[:, :, 1:4].sum() >= 0.9 * (LIVER & ~draft)[:, :, 1:4].sum()
    for k in (0, 4, 5):
        assert np.array_equal(found[:, :, k], draft[:, :, k])
    assert knowing.computed <= 2 * 5  # its slice, two beside it, and where it ends
    one = refined(knowing, draft, flat=True, **clicked([17, 22, 2])) > 0
    assert np.array_equal(one[:, :, [0, 1, 3, 4, 5]], draft[:, :, [0, 1, 3, 4, 5]])
    assert one[17, 22, 2]


def test_what_a_background_click_takes_away_was_too_much(knowing: VolumeSession) -> None:
    draft = LIVER | (np.indices(TRUTH.shape)[0] < 4)
    found = refined(knowing, draft, **clicked([1, 20, 3], kinds=[0])) > 0
    assert not found[:3].any()
    assert np.array_equal(found[5:], draft[5:])


def saying(session: VolumeSession, monkeypatch: pytest.MonkeyPatch, shown: np.ndarray) -> None:
    """Let the network say what is shown, XxYxZ, whatever it is asked."""

    def answer(asks: list[Ask]) -> list[Mask]:
        values = session.view.seen(volume_of(shown))
        pixels = [torch.from_numpy(values[:, :, ask.k].T.copy()) for ask in asks]
        shares = [coverage([one], session.backbone.image_size, 64)[0] for one in pixels]
        return [Mask(a.label, (s - 0.5) * 16, 1.0) for a, s in zip(asks, shares, strict=True)]

    monkeypatch.setattr(session, "answer", answer)


def test_a_leak_far_larger_than_the_organ_is_taken_away_by_a_click_in_its_middle(
    knowing: VolumeSession,
) -> None:
    draft = LIVER.copy()
    draft[..., 3] = True
    inside = ndimage.distance_transform_edt(np.pad(draft[..., 3] & ~LIVER[..., 3], 1))[1:-1, 1:-1]
    middle = [int(n) for n in np.unravel_index(inside.argmax(), inside.shape)]
    assert draft[..., 3].sum() > 4 * LIVER[..., 3].sum()
    found = refined(knowing, draft, flat=True, **clicked([*middle, 3], kinds=[0]))
    both = (found & LIVER)[..., 3].sum() / (found | LIVER)[..., 3].sum()
    assert both > 0.9  # in the network's resolution


def test_a_click_does_not_take_all_there_is(
    session: VolumeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(asks: list[Ask]) -> list[Mask]:
        return [Mask(ask.label, torch.full((64, 64), -9.0), 1.0) for ask in asks]

    monkeypatch.setattr(session, "answer", nothing)
    found = refined(session, LIVER, flat=True, **clicked(INSIDE, kinds=[0]))
    assert not found[tuple(INSIDE)]
    assert (found & LIVER)[..., 3].sum() > 0.8 * LIVER[..., 3].sum()


def test_a_click_by_the_outline_means_no_more_than_that(
    session: VolumeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = int(np.flatnonzero(LIVER[:, 22, 3]).max())
    saying(session, monkeypatch, np.ones_like(LIVER))
    added = refined(session, LIVER, **clicked([edge + 1, 22, 3])) > 0
    assert added[edge + 1, 22, 3]
    assert (added != LIVER).sum() == 1
    saying(session, monkeypatch, np.zeros_like(LIVER))
    taken = refined(session, LIVER, **clicked([edge, 22, 3], kinds=[0])) > 0
    assert not taken[edge, 22, 3]
    assert (taken != LIVER).sum() == 1


def test_a_change_does_not_grow_on_other_slices(
    session: VolumeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = LIVER.copy()
    draft[15:, :, :] = False
    shown = np.ones_like(LIVER)
    shown[:, :, 2] = LIVER[:, :, 2]
    saying(session, monkeypatch, shown)
    found = refined(session, draft, **clicked([17, 22, 2])) > 0
    changed = (found != draft).sum((0, 1))
    assert changed[2] > 20
    assert (changed <= 1.2**5 * changed[2]).all()
    assert not found[30:].any()


def test_what_earlier_clicks_say_holds(
    session: VolumeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(session, monkeypatch, np.zeros_like(LIVER))
    draft = LIVER | KIDNEY
    held, wrong = [30, 12, 3], [28, 12, 3]
    assert draft[tuple(held)] and draft[tuple(wrong)]
    found = refined(session, draft, **clicked(held, wrong, kinds=[1, 0])) > 0
    assert found[tuple(held)]
    assert (found != draft).sum() == 1


@pytest.mark.parametrize("kind", [0, 1])
def test_a_click_adds_or_takes_whatever_the_network_says(session: VolumeSession, kind: int) -> None:
    place = OUTSIDE if kind else INSIDE
    found = refined(session, LIVER, **clicked(place, kinds=[kind])) > 0
    assert found[tuple(place)] == kind
    lost, more = (LIVER & ~found).sum(), (found & ~LIVER).sum()
    assert (lost if kind else more) == 0


def test_fixed_slices_and_locked_organs_stay(session: VolumeSession) -> None:
    draft = np.where(KIDNEY, 2, LIVER).astype(np.uint8)
    box = [2, 2, 0, 46, 38, 5]
    found = refined(session, draft, box=box, fixed=[2, 4], locked=True)
    assert np.array_equal(found[:, :, [2, 4]], draft[:, :, [2, 4]])
    assert np.array_equal(found == 2, draft == 2)
    other = refined(session, draft, box=box)
    assert not (other == 2).any()
    assert not np.array_equal(other[:, :, 2], draft[:, :, 2])


def test_a_box_asks_for_its_slices_anew(knowing: VolumeSession) -> None:
    draft = np.roll(LIVER, 9, axis=0)
    found = refined(knowing, draft, box=[4, 12, 3, 24, 32, 3]) > 0
    assert (found[:, :, 3] != LIVER[:, :, 3]).mean() < 0.02
    beside = [0, 1, 2, 4, 5]
    assert np.array_equal(found[:, :, beside], draft[:, :, beside])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"points": [INSIDE], "fixed": [3]}, "lies on a slice that is fixed"),
        ({"points": [[30, 12, 3]], "locked": True}, "lies in 'kidney', which is locked"),
        ({"points": [INSIDE], "fixed": [9]}, "leaves the volume"),
    ],
)
def test_prompts_on_what_may_not_change_are_told(
    session: VolumeSession, prompt: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        refined(session, np.where(KIDNEY, 2, LIVER), **prompt)


GOES_ON = {"label": "liver", "mask": volume_of(LIVER.astype(np.uint8))}


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([{**GOES_ON, "fixed": [-1]}], "list of slice numbers"),
        ([{**GOES_ON, "locked": 1}], "must be true or false"),
        ([{"label": "liver", "box": [0, 0, 0, 9, 9, 3], "locked": True}], "belongs to 'mask'"),
        ([{"mask": GOES_ON["mask"], "points": [INSIDE]}], "has no 'label'"),
        ([{"label": "liver", "box": [0, 0, 0, 9, 9, 3], "points": [INSIDE]}], "either 'box'"),
        ([{**GOES_ON, "fixed": [1]}, {**GOES_ON, "points": [INSIDE]}], "two masks"),
    ],
)
def test_prompts_that_go_on_are_checked(prompts: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompts(prompts, "'case'", LABELS)


def test_batch_inference_goes_on_from_a_file(tmp_path: Path, overrides: dict) -> None:
    save_volume(tmp_path / "in" / "case.nii.gz", IMAGE)
    save_volume(tmp_path / "draft.nii.gz", TRUTH)
    prompt = {"label": "liver", "mask": "draft.nii.gz", "locked": True, "fixed": [0, 1, 2]}
    asked = {"case": [{**prompt, **clicked(OUTSIDE)}]}
    (tmp_path / "prompts.json").write_text(json.dumps(asked))
    network = methods.coefficients(build("tiny"))
    (tmp_path / "models").mkdir()
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    more = {"dataset_dir": str(tmp_path / "in"), "prompts": str(tmp_path / "prompts.json")}
    kept = {k: v for k, v in overrides.items() if k in ("bundle_root", "backbone")}
    run("inference", "inference", run_id="run", **{**kept, **more})
    found = np.asanyarray(nib.load(tmp_path / "eval/predictions/case.nii.gz").dataobj)
    assert np.array_equal(found[:, :, :3], TRUTH[:, :, :3])
    assert np.array_equal(found == 2, KIDNEY)
    assert found[tuple(OUTSIDE)] == 1
