"""Names where they meet what else people give: planes, masks, clicks, devices, labels, means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LABELS, ct, save_volume
from devices import DEVICE, Device
from monai.data import MetaTensor
from test_named_prompts import body, finder, session_of
from torch import Tensor

from samparser_monai.errors import InputError
from samparser_monai.geometry.run_lengths import rle_of
from samparser_monai.metrics.instances import InstanceScores
from samparser_monai.metrics.organs import OrganDice
from samparser_monai.sam.named_prompts import check_organs
from samparser_monai.training.naming import BoxesJudged
from samparser_monai.training.report import comparison_table
from samparser_monai.volumes import inference_items
from samparser_monai.volumes.naming import Naming
from samparser_monai.volumes.page import draw_case
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.segmentation import Mask, Segmentation
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.starts import meant, under

KIDNEY = {"label": "kidney"}
RULE = Naming(least_area=1, smooth=0)


def coarse(truth: np.ndarray, volume: MetaTensor) -> MetaTensor:
    meta = {"filename_or_obj": "mask"}
    return MetaTensor((truth * LABELS["kidney"])[None].astype(np.uint8), volume.affine, meta=meta)


def coronal() -> MetaTensor:
    volume, _ = body()
    affine = torch.diag(torch.tensor([-1.0, -3.0, 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(volume.as_tensor(), affine, meta={"filename_or_obj": "v"})


def test_names_are_asked_on_axial_slices_whatever_was_acquired() -> None:
    volume = coronal()
    session = session_of(volume, finder(), "acquisition")
    assert session.view.plane == "coronal"
    found = session.segment([KIDNEY], None, RULE)
    axial = session_of(volume, finder(), "axial").segment([KIDNEY], None, RULE)
    assert torch.equal(found.labels(), axial.labels())
    assert found.labels().any()
    assert not found.warnings
    box = {"label": "liver", "box": [4, 30, 2, 30, 30, 15]}
    mixed = session.segment([KIDNEY, box], None, RULE)
    assert "--plane axial" in mixed.warnings[0]


def test_a_mask_that_shows_an_organ_goes_before_its_name() -> None:
    volume, truth = body()
    session, mask = session_of(volume, finder()), {"mask": coarse(truth, volume)}
    alone = session.segment([mask], None, RULE)
    found = session.segment([mask, KIDNEY], None, RULE)
    assert torch.equal(found.labels(), alone.labels())
    assert not found.by_name
    assert session.segment([mask, {"label": "liver"}], None, RULE).by_name == ["liver"]


def test_a_background_click_where_a_mask_shows_nothing_changes_nothing() -> None:
    volume, truth = body()
    session, mask = session_of(volume, finder()), {"mask": coarse(truth, volume)}
    click = {"label": "kidney", "points": [[30, 20, 0]], "point_labels": [0]}
    found = session.segment([mask, click], Propagation())
    assert torch.equal(found.labels(), session.segment([mask], Propagation()).labels())


def clicked(
    session: VolumeSession,
    *points: list[int],
    kinds: tuple[int, ...] = (),
    rule: Propagation | None = None,
) -> np.ndarray:
    """Return what clicks on kidneys find, where clicks alone find the whole picture."""
    asked = session.network.decode

    def decode(image: Tensor, boxes: Any, points: Any, masks: Any, names: Any = None) -> Any:
        whole = [torch.tensor([[0.0, 0, 1000, 1000]] * len(of_slice)) for of_slice in points or ()]
        return asked(image, boxes or whole, points, masks, names)

    session.network.decode = decode
    prompt = {"label": "kidney", "points": list(points)}
    prompt |= {"point_labels": list(kinds)} if kinds else {}
    try:
        return session.segment([prompt], rule).labels()[0].numpy() == LABELS["kidney"]
    finally:
        session.network.decode = asked


def test_a_click_in_an_organ_that_is_known_by_name_is_answered_by_it() -> None:
    volume, truth = body()
    session = session_of(volume, finder())
    one, other = [14, 36, 8], [48, 36, 8]
    left = clicked(session, one)
    assert left.any()
    assert not (left & ~truth).any()
    assert not left[32:].any()  # the other kidney is another object
    spread = clicked(session, one, rule=Propagation())
    assert np.array_equal(spread[..., 8], left[..., 8])
    assert spread[..., 7].any()
    assert np.array_equal(clicked(session, one, other), clicked(session, other) | left)
    assert not clicked(session, one, [14, 32, 8], kinds=(1, 0))[14, 32, 8]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_clicks_in_two_kidneys_are_two_objects(plane: str) -> None:
    session = session_of(body()[0], finder(), plane)
    clicks = [[14, 36, 8], [48, 36, 8], [16, 34, 8], [49, 36, 9], [24, 5, 9]]
    for label, sizes in (("kidney", [2, 3]), ("liver", [5])):
        targets = session.targets([{"label": label, "points": clicks}])
        assert sorted(len(target.clicks()) for target in targets) == sizes


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_click_beside_one_kidney_asks_for_the_other(plane: str) -> None:
    volume, truth = body()
    session = session_of(volume, finder(), plane)
    truth[32:] = False
    draft = coarse(truth, volume)
    here, there = [14, 36, 8], [48, 36, 8]
    asked = {"label": "kidney", "mask": draft, "points": [here, there]}
    one, other = session.targets([asked])
    assert one.draft is not None
    assert (len(one.clicks()), len(other.clicks())) == (1, 1)
    assert other.draft is None
    (alone,) = session.targets([{"label": "kidney", "points": [there]}])
    assert torch.equal(other.clicks()[0][2], alone.clicks()[0][2])
    assert len(session.targets([{**asked, "points": [here]}])) == 1
    if plane == "axial":  # whose slices are fixed; what is asked anew would change them
        assert len(session.targets([{**asked, "fixed": [3]}])) == 1


def test_a_click_where_its_name_shows_nothing_is_answered_without_it() -> None:
    outside, inside = [40, 20, 8], [14, 36, 8]
    assert clicked(session_of(body()[0], finder()), outside)[..., 8].all()
    # names are learned on axial slices
    assert clicked(session_of(body()[0], finder(), "coronal"), inside)[:, 36].all()
    network = finder()
    network.named_prompts.taught = ["liver"]
    assert clicked(session_of(body()[0], network), inside)[..., 8].all()


def test_a_click_in_a_hole_is_in_the_part_about_it() -> None:
    shown = torch.zeros(16, 16)
    shown[2:9, 2:9] = 1  # in the model's square of 64 pixels: 8 to 36
    shown[4:7, 4:7] = 0
    shown[12:14, 12:14] = 1
    mask = Mask("liver", shown * 2 - 1, 0.9)
    for place, part in ((20.0, shown[:9, :9].sum()), (50.0, 4)):
        own = under(mask, torch.tensor([[place, place, 1.0], [2.0, 2.0, 0.0]]), 64)
        assert own is not None
        assert (own.logits > 0).sum() == part
    assert under(mask, torch.tensor([[44.0, 20.0, 1.0]]), 64) is None


def test_of_two_answers_a_name_says_what_is_meant() -> None:
    logits = torch.full((16, 16), -1.0)
    logits[2:9, 2:9] = 1
    vessel, organ, wider = logits.clone(), logits, logits.clone()
    vessel[2:9, 3:] = vessel[4:, 2:9] = -1
    wider[9, 2:9] = 1

    def one(logits: Tensor, iou: float) -> Mask:
        return Mask("liver", logits, iou)

    for named, plain, best in (
        (one(organ, 0.6), one(vessel, 0.9), 0.6),
        (one(organ, 0.6), one(wider, 0.9), 0.9),  # the same, surer
        (one(organ, 0.6), one(wider, 0.5), 0.6),
        (one(organ, 0.2), one(vessel, 0.1), 0.1),  # the name has found nothing
    ):
        assert meant(named, plain).iou == best


def test_masks_of_the_cpu_and_of_a_device_meet() -> None:
    view = session_of(body()[0], finder()).view
    here = Mask("kidney", torch.full((64, 64), 4.0), 1.0)
    with Device():
        there = Mask("liver", torch.full((64, 64), 8.0).to(DEVICE), 1.0)
        for masks in ([here, there], [there, here]):
            found = Segmentation(view, {"kidney": [2], "liver": [1]}, 64, {3: masks})
            assert (found.logits(3)[1].argmax(0) == 1).all()


def test_what_names_cannot_be(tmp_path: Path) -> None:
    assert check_organs("kidney, kidney", ["kidney"]) == ["kidney"]
    with pytest.raises(InputError, match=r"least_piece=2 must be from 0 to 1"):
        Naming(least_piece=2)
    with pytest.raises(InputError, match=r"pieces of kidney must be a whole number"):
        Naming(pieces={"kidney": "1"})
    session = session_of(body()[0], finder())
    with pytest.raises(InputError, match=r"organ in pieces: 'kidny'; did you mean 'kidney'"):
        session.segment([KIDNEY], None, Naming(pieces={"kidny": 1}))
    save_volume(tmp_path / "a.nii.gz", ct(0)[0])
    with pytest.raises(InputError, match=r"labels=\['heart'\] has none of the organs .*kidney"):
        inference_items(tmp_path, None, {"heart": 1}, ["kidney"])


def test_means_are_of_boxes_and_the_best_epoch_of_both() -> None:
    box, nothing = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    slices = [
        {"case": "a", "slice": 0, "organ": "liver", "prediction": box, "truth": box},
        {"case": "a", "slice": 0, "organ": "liver by name", "prediction": nothing, "truth": box},
    ]
    slices[1]["by_name"] = True
    organs = OrganDice()
    organs.update(slices)
    assert organs.summary() == {"liver": 100, "liver by name": 0, "mean": 100}
    assert organs.averages() == {"dsc": 100, "dsc_volumes": 100}
    assert organs.compute() == 50
    published = OrganDice()
    published.update(slices[:1])
    mean = comparison_table(published, organs).splitlines()[-1]
    assert mean.split()[:2] == ["mean", "1"]
    assert BoxesJudged()({"judged": [{"by_name": False}, {"by_name": True}]})["judged"] == [
        {"by_name": False}
    ]
    instances = InstanceScores()
    instances.update(
        [
            {
                **{key: one[key] for key in ("case", "prediction", "truth")},
                "instance": n,
                "label": one["organ"],
                "by_name": bool(n),
            }
            for n, one in enumerate(
                {**s, "prediction": rle_of(s["prediction"]), "truth": rle_of(s["truth"])}
                for s in slices
            )
        ]
    )
    assert instances.summary() == {"liver": 100, "liver by name": 0, "mean": 100}
    assert instances.averages()["miou"] == 100
    assert instances.compute() == 50
    organs.reset()
    organs.update(slices[1:])
    assert organs.summary()["mean"] == 0


def test_the_page_shows_the_truth_of_all_values_of_an_organ() -> None:
    pictures, found = np.zeros((16, 16, 1)), np.zeros((16, 16, 1))
    truth = found.copy()
    truth[4:9, 4:9] = 3
    organs = {"kidney": [2, 3]}
    assert draw_case(pictures, found, truth, organs) != draw_case(pictures, found, None, organs)
