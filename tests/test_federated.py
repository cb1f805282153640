"""Federated tuning without an engine: what is refused, how it is averaged, a site's rounds."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, make_dataset

from samparser_monai.errors import InputError
from samparser_monai.federated.folder import FOLDER, federation_folder, site_settings
from samparser_monai.federated.site import Site
from samparser_monai.federated.updates import (
    AGREED,
    NAMED,
    Update,
    agreed,
    average,
    disagreement,
    refusal,
)
from samparser_monai.tuned.part import read_tuned

TOKENS, PLACES = NAMED
TENSORS = {"neck.0": np.zeros(4, np.float32), "neck.2": np.zeros(3, np.float32)}
ABOUT: dict[str, Any] = dict.fromkeys(AGREED, "same") | {"window": [-160.0, 240.0]}
STEPS = {name: np.full_like(tensor, 0.1) for name, tensor in TENSORS.items()}


def update(**changed: Any) -> Update:
    return Update(
        **{"site": "a", "round": 3, "cases": 5, "steps": STEPS, "about": ABOUT, **changed}
    )


def reason(found: Update) -> str | None:
    return refusal(found, TENSORS, ABOUT, round=3, most_step=0.5)


def with_step(name: str, value: Any) -> dict[str, Any]:
    return {"steps": {**STEPS, name: value}}


def test_a_sound_update_is_taken() -> None:
    assert reason(update()) is None
    assert reason(update(**with_step("neck.0", np.full(4, -0.5)))) is None  # float64, at the bound


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"about": {**ABOUT, "base_sha256": "other"}}, "base_sha256 is 'other', the federation's"),
        ({"about": {**ABOUT, "window": [-100, 200]}}, r"window is \[-100, 200\], .* \[-160.0, 240"),
        ({"about": None}, "does not say"),
        ({"round": 2}, "of round 2, this is round 3"),
        ({"cases": 0}, "0 cases"),
        ({"cases": True}, "True cases"),
        ({"cases": float("inf")}, "inf cases"),
        ({"steps": {}}, "other tensors than the 2"),
        ({"steps": {"neck.0": STEPS["neck.0"]}}, "other tensors"),
        ({"steps": {**STEPS, "image": np.zeros(4)}}, "other tensors"),
        ({"steps": "numbers"}, "other tensors"),
        (with_step("neck.0", np.zeros(5)), r"neck.0 is of shape \(5,\), not \(4,\)"),
        (with_step("neck.0", np.zeros((4, 1))), "of shape"),
        (with_step("neck.0", [0.0] * 4), "no array"),
        (with_step("neck.0", np.array([0, None, 0, 0], object)), "no array"),
        (with_step("neck.2", np.array([0, np.nan, 0])), "neck.2 holds numbers that are not finite"),
        (with_step("neck.2", np.array([0, -np.inf, 0])), "not finite"),
        (with_step("neck.2", np.array([0, -0.7, 0])), "step of 0.7, above most_step=0.5"),
    ],
)
def test_what_is_left_out_is_named(changed: dict, told: str) -> None:
    assert re.search(told, reason(update(**changed)) or "")


@pytest.mark.parametrize("key", AGREED)
def test_every_agreed_value_counts(key: str) -> None:
    assert key in (disagreement({**ABOUT, key: "another"}, ABOUT) or "")
    assert key in (disagreement({k: v for k, v in ABOUT.items() if k != key}, ABOUT) or "")


def test_average_is_weighted_by_cases() -> None:
    ones = {name: np.ones_like(tensor) for name, tensor in TENSORS.items()}
    zeros = {name: np.zeros_like(tensor) for name, tensor in TENSORS.items()}
    sites = [update(site="a", cases=1, steps=ones), update(site="b", cases=3, steps=zeros)]
    mean = average(sites, TENSORS, most_cases=1000)
    for name, tensor in mean.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, 0.25, rtol=1e-6)
        np.testing.assert_array_equal(average(sites[::-1], TENSORS, 1000)[name], tensor)
    boast = [update(cases=10**9, steps=ones), update(cases=10, steps=zeros)]
    np.testing.assert_allclose(average(boast, TENSORS, most_cases=30)["neck.0"], 0.75, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_name_is_averaged_over_the_sites_that_labelled_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    tensors = {**TENSORS, TOKENS: np.zeros((4, 2, 3), np.float32)}
    counts = random.integers(0, 5, (3, 4))
    counts[:, 3] = 0  # nobody has seen the last organ
    updates = [
        update(
            cases=5,
            named=tuple(map(int, row)),
            steps={n: random.normal(0, 0.1, t.shape) for n, t in tensors.items()},
        )
        for row in counts
    ]
    for found in updates:
        assert refusal(found, tensors, ABOUT, 3, 0.5) is None
    mean = average(updates, tensors, most_cases=3)
    for organ, column in enumerate(np.minimum(counts, 3).T):
        rows = [found.steps[TOKENS][organ] for found in updates]
        expected = np.average(rows, axis=0, weights=column) if column.any() else np.zeros((2, 3))
        np.testing.assert_allclose(mean[TOKENS][organ], expected, rtol=1e-5, atol=1e-7)
    others = np.mean([found.steps["neck.0"] for found in updates], axis=0)
    np.testing.assert_allclose(mean["neck.0"], others, rtol=1e-5)
    updates[0].steps[TOKENS][counts[0] == 0] = 1e6  # of organs that it has not labelled
    np.testing.assert_array_equal(average(updates, tensors, 3)[TOKENS], mean[TOKENS])


@pytest.mark.parametrize("named", [(), (1,), (1, 6), (1, -1), (1, True), (1, 1.0), "11", None])
def test_counts_of_names_are_checked(named: Any) -> None:
    tensors = {TOKENS: np.zeros((2, 2, 3), np.float32)}
    found = update(steps=tensors, named=named)
    assert "no count of its 5 cases to 2 names" in (refusal(found, tensors, ABOUT, 3, 0.5) or "")


def test_average_of_nobody_changes_nothing() -> None:
    for tensor in average([], TENSORS, 1000).values():
        np.testing.assert_array_equal(tensor, 0)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    small = {key: SMALL[key] for key in ("backbone", "min_area", "min_volume", "coefficient_rate")}
    return {
        **small,
        "bundle_root": str(ROOT),
        "dataset_dir": str(make_dataset(tmp_path / "ct")),
        "cache_dir": str(tmp_path / "cache"),
    }


def zeros_of(site: Site) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(tensor) for name, tensor in site.tuned().items()}


def test_a_round_does_not_depend_on_the_past(settings: dict) -> None:
    site = Site("a", settings, local_epochs=1, rounds=2)
    start = zeros_of(site)
    first = site.train(start, 0)
    assert first.cases == 2 and set(first.steps) == set(start)
    assert {tensor.shape for tensor in first.steps.values()} == {(32,)}  # 64 numbers, tiny's neck
    assert max(np.abs(tensor).max() for tensor in first.steps.values()) > 0.01
    assert refusal(first, start, site.about, 0, most_step=0.5) is None
    second = site.train(first.steps, 1)
    restarted = Site("a", settings, local_epochs=1, rounds=2).train(first.steps, 1)
    for name, steps in second.steps.items():
        np.testing.assert_array_equal(restarted.steps[name], steps)


def test_names_begin_at_a_site_s_boxes_and_are_counted(settings: dict) -> None:
    site = Site("a", {**settings, "names": True}, 1, 2)
    start = site.tuned()
    assert start[TOKENS].shape[:2] == (4, 2) and site.about["names"][0] == "liver"
    found = site.train(start, 0)
    assert refusal(found, start, site.about, 0, most_step=0.5) is None
    assert len(found.named) == 4 and found.cases == 2 and max(found.named) == 2
    for organ, count in enumerate(found.named):  # what nobody has labelled stays where it was
        assert np.any(found.steps[TOKENS][organ] != 0) == (count > 0)
        assert np.any(found.steps[PLACES][organ] != 0) == (count > 0)
    steps = site.train({n: start[n] + found.steps[n] for n in start}, 1).steps
    assert np.abs(steps[TOKENS]).max() > 0
    assert not steps[PLACES].any()


def test_a_site_trains_on_for_itself(settings: dict, tmp_path: Path) -> None:
    site = Site("a", settings, 1, 1)
    begun = {name: tensor + 0.1 for name, tensor in zeros_of(site).items()}
    site.tune_on(tmp_path / "a.safetensors", begun)
    tensors, about = read_tuned(tmp_path / "a.safetensors")
    assert set(tensors) == set(begun) and agreed(about) == site.about
    steps = site.train(begun, 0).steps
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor, begun[name] + steps[name], rtol=1e-6)


def test_the_proximal_term_holds_a_site_near(settings: dict) -> None:
    def pull(now: torch.nn.Module, then: torch.nn.Module) -> torch.Tensor:
        pairs = zip(now.parameters(), then.parameters(), strict=True)
        return 1e4 * sum(((p - q) ** 2).sum() for p, q in pairs)

    def size(found: Update) -> float:
        return sum(float(np.abs(steps).sum()) for steps in found.steps.values())

    free = Site("a", settings, 1, 1)
    held = Site("a", settings, 1, 1, proximal=pull)
    start = zeros_of(free)
    assert size(held.train(start, 0)) < 0.7 * size(free.train(start, 0))


def test_a_site_says_what_its_numbers_belong_to(settings: dict) -> None:
    about = Site("a", settings, 1, 1).about
    assert set(about) == set(AGREED)
    other = Site("b", {**settings, "window": [-100.0, 200.0]}, 1, 1).about
    assert disagreement(other, about) == (
        "window is [-100.0, 200.0], the federation's is [-160.0, 240.0]"
    )
    sent = json.dumps(about)
    assert str(settings["dataset_dir"]) not in sent and "case_0" not in sent


def test_a_site_s_rates_fall_over_all_rounds_from_its_factor(settings: dict) -> None:
    site = Site("a", {**settings, "rate_factor": 0.5}, local_epochs=1, rounds=2)
    rate = settings["coefficient_rate"]
    for round, left in enumerate((0.5, 0.0)):
        site.train(zeros_of(site), round)
        assert site.trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * left * rate)


def test_settings_are_checked(settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'dataset_dir'"):
        Site("a", {**settings, "dataset_dirr": "x"}, 1, 1)
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(InputError, match=FOLDER):
        federation_folder()
    monkeypatch.setenv(FOLDER, str(settings["dataset_dir"]))
    with pytest.raises(InputError, match=r"nobody\.json"):
        site_settings("nobody")


def test_the_engine_stays_in_its_two_files() -> None:
    package = ROOT / "samparser_monai"
    name = re.compile(
        r"^\s*(?:from|import) (?:nvflare|samparser_monai\.federated\.(?:flare|job))", re.M
    )
    found = {path.name for path in package.rglob("*.py") if name.search(path.read_text("utf-8"))}
    assert found == {"flare.py", "job.py"}
