"""The Dice similarity coefficient, by hand and against MONAI's."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice

from samparser_monai.metrics.organs import OrganDice


def masks(
    prediction: object, truth: object, case: str = "a", number: int = 0, organ: str = "liver"
) -> dict:
    """Return what the metric is updated with for one organ on one slice."""
    found, wanted = (torch.as_tensor(m).bool() for m in (prediction, truth))
    return {"case": case, "slice": number, "organ": organ, "prediction": found, "truth": wanted}


def metric(*rows: dict) -> OrganDice:
    """Return the metric after slices that come in one at a time, as from an engine."""
    dice = OrganDice()
    for row in rows:
        dice.update([row])
    return dice


@pytest.mark.parametrize(
    ("prediction", "truth", "percent"),
    [
        ([[1, 1, 0, 0]], [[1, 1, 0, 0]], 100),
        ([[1, 1, 1, 1]], [[1, 1, 0, 0]], 200 * 2 / 6),
        ([[1, 1, 0, 0]], [[0, 1, 1, 0]], 50),
        ([[1, 0, 0, 0]], [[0, 1, 1, 0]], 0),
        ([[0, 0, 0, 0]], [[0, 1, 1, 0]], 0),
        ([[0, 1, 1, 0]], [[0, 0, 0, 0]], 0),
    ],
)
def test_slice_by_hand(prediction: list, truth: list, percent: float) -> None:
    dice = metric(masks(prediction, truth))
    assert dice.slices()["dsc"].tolist() == pytest.approx([percent])
    assert dice.compute() == pytest.approx(percent)


def test_where_both_are_empty_nothing_is_averaged_in() -> None:
    dice = metric(
        masks([[1, 1]], [[1, 0]], number=0),  # 2 * 1 / 3
        masks([[0, 0]], [[0, 0]], number=1),
        masks([[0, 0]], [[0, 0]], case="b"),
    )
    assert dice.slices()["dsc"].isna().tolist() == [False, True, True]
    cases = dice.cases().set_index("case")
    assert cases.loc["a", ["dsc", "dsc_slices"]].tolist() == pytest.approx([200 / 3] * 2)
    assert cases.loc["b", ["dsc", "dsc_slices"]].isna().all()
    for over in ("slices", "cases"):
        assert dice.summary(over) == pytest.approx({"liver": 200 / 3, "mean": 200 / 3})


def test_organ_of_no_slice_with_a_figure_does_not_lower_the_mean() -> None:
    dice = metric(masks([[1]], [[1]]), masks([[0]], [[0]], organ="spleen"))
    for over in ("slices", "cases"):
        found = dice.summary(over)
        assert np.isnan(found["spleen"])
        assert found["mean"] == 100


def test_organ_absent_from_a_case_does_not_lower_its_mean() -> None:
    dice = metric(
        masks([[1]], [[1]], case="a", organ="liver"),
        masks([[1]], [[1]], case="a", organ="spleen"),
        masks([[1]], [[1]], case="b", organ="liver"),  # no spleen in b
    )
    assert dice.summary("cases") == {"liver": 100, "spleen": 100, "mean": 100}
    assert len(dice.cases()) == 3


def test_mean_is_over_organs_whatever_the_number_of_their_slices() -> None:
    livers = [masks([[1]], [[1]], number=n) for n in range(9)]
    dice = metric(*livers, masks([[0]], [[1]], organ="spleen"))
    assert dice.compute() == 50


def test_case_is_that_of_the_stacked_slices_and_not_the_mean_over_them() -> None:
    truth = np.zeros((2, 10, 10), bool)
    truth[0, :8] = True  # 80 pixels, all found
    truth[1, 0, :2] = True  # 2 pixels, 1 found
    found = truth.copy()
    found[1, 0, 1] = False
    dice = metric(*(masks(found[k], truth[k], number=k) for k in range(2)))
    (case,) = dice.cases().to_dict("records")
    stacked = 100 * 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert case["dsc"] == pytest.approx(stacked) == pytest.approx(200 * 81 / 163)
    assert case["dsc_slices"] == pytest.approx((100 + 200 / 3) / 2)
    assert case["slices"] == 2


def test_agrees_with_monai() -> None:
    random = np.random.default_rng(0)
    found, truth = random.random((2, 5, 8, 7)) < 0.4
    dice = metric(*(masks(found[k], truth[k], number=k) for k in range(5)))
    theirs = 100 * compute_dice(torch.tensor(found)[:, None], torch.tensor(truth)[:, None])[:, 0]
    assert dice.slices()["dsc"].to_numpy() == pytest.approx(theirs.numpy(), rel=1e-5)  # in float32
    volume = compute_dice(torch.tensor(found)[None, None], torch.tensor(truth)[None, None])
    assert dice.summary("cases")["liver"] == pytest.approx(100 * volume.item(), rel=1e-5)


def test_reset_forgets() -> None:
    dice = metric(masks([[0]], [[1]]))
    dice.reset()
    dice.update([masks([[1]], [[1]])])
    assert dice.compute() == 100


def test_deviation_is_that_over_cases_and_none_of_one_case() -> None:
    dice = metric(
        masks([[1, 1]], [[1, 1]]),  # 100
        masks([[1, 1]], [[1, 0]], case="b"),  # 200 / 3
        masks([[1]], [[1]], organ="spleen"),
    )
    deviation = np.std([100, 200 / 3], ddof=1)
    found = dice.sections()
    for name in ("volumes_sd", "slices_sd"):
        assert found[name] == pytest.approx({"liver": deviation})
