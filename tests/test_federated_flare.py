"""NVIDIA FLARE around a federated tuning: what is taken, what travels, what a restart finds."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, make_dataset, read_json

from samparser_monai.federated.folder import FOLDER
from samparser_monai.federated.site import Site
from samparser_monai.federated.updates import AGREED, NAMED, average, fingerprint
from samparser_monai.tuned.part import read_tuned, write_tuned

pytestmark = pytest.mark.federated
pytest.importorskip("nvflare")

from nvflare.apis.controller_spec import ClientTask  # noqa: E402
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable  # noqa: E402
from nvflare.apis.fl_constant import ReservedKey, ReturnCode  # noqa: E402
from nvflare.apis.fl_context import FLContext  # noqa: E402
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply  # noqa: E402
from nvflare.apis.signal import Signal  # noqa: E402
from nvflare.app_common.app_constant import AppConstants  # noqa: E402
from nvflare.app_common.decomposers import common_decomposers, numpy_decomposers  # noqa: E402
from nvflare.app_common.workflows.scatter_and_gather import ScatterAndGather  # noqa: E402

from samparser_monai.federated.flare import (  # noqa: E402
    ABOUT,
    ROUNDS_DONE,
    TunedAggregator,
    TunedExecutor,
    TunedPersistor,
    TunedRounds,
)
from samparser_monai.federated.job import federated_job  # noqa: E402

common_decomposers.register()
numpy_decomposers.register()
ABOUTS: dict[str, Any] = dict.fromkeys(AGREED, "same") | {"versions": {"torch": "2"}}
NAMES = tuple(f"image_encoder.neck.{n}.parametrizations.weight.original1" for n in (0, 2))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    write_tuned(tmp_path / "start.safetensors", {n: torch.zeros(256) for n in NAMES}, ABOUTS)
    return tmp_path


def context(**props: Any) -> FLContext:
    found = FLContext()
    for key, value in props.items():
        found.set_prop(key, value, private=True, sticky=False)
    return found


def sent(site: str, value: float, cases: int = 2, round: int = 0, **steps: Any) -> Shareable:
    steps = {name: np.full(256, value, np.float32) for name in NAMES} | steps
    about = fingerprint(ABOUTS)
    meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: cases, ABOUT: about}
    found = DXO(DataKind.WEIGHT_DIFF, steps, meta).to_shareable()
    found.add_cookie(AppConstants.CONTRIBUTION_ROUND, round)
    found.set_header(ReservedHeaderKey.PEER_PROPS, {ReservedKey.IDENTITY_NAME: site})
    return found


def test_rounds_are_averaged_noted_and_taken_up_again(folder: Path) -> None:
    persistor, aggregator = TunedPersistor(), TunedAggregator()
    model = persistor.load_model(context())
    now = context(**{AppConstants.GLOBAL_MODEL: model, AppConstants.CURRENT_ROUND: 0})
    assert aggregator.accept(sent("a", 0.1, cases=1), now)
    assert aggregator.accept(sent("b", 0.3, cases=3), now)
    assert not aggregator.accept(sent("b", 0.3), now)  # twice
    assert not aggregator.accept(sent("c", np.nan), now)
    assert not aggregator.accept(sent("d", 0.1, round=-1), now)  # late
    assert not aggregator.accept(sent("e", 0.1, image=np.zeros(9)), now)
    assert not aggregator.accept(sent("f", 0.6), now)
    mean = from_shareable(aggregator.aggregate(now)).data
    np.testing.assert_allclose(mean[NAMES[0]], 0.25, rtol=1e-6)
    row = json.loads((folder / "rounds.jsonl").read_text())
    assert set(row["sites"]) == {"a", "b"} and set(row["left_out"]) == set("bcdef")
    assert all(2048 < site["bytes"] < 4096 for site in row["sites"].values())
    assert "not finite" in row["left_out"]["c"] and "round -1" in row["left_out"]["d"]
    assert "a step of 0.6, above most_step=0.5" in row["left_out"]["f"]

    model["weights"] = mean
    persistor.save_model(model, now)
    again = TunedPersistor()
    np.testing.assert_array_equal(again.load_model(context())["weights"][NAMES[1]], mean[NAMES[1]])
    assert again.about[ROUNDS_DONE] == 1 and again.about["versions"] == {"torch": "2"}


def test_a_site_that_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = TunedRounds(persistor_id="persistor", ignore_result_error=True)
    rounds.aggregator = TunedAggregator()
    monkeypatch.setattr(ScatterAndGather, "_process_train_result", lambda *args: None)
    answer = ClientTask(SimpleNamespace(name="site-3"), SimpleNamespace())
    answer.result = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    rounds._process_train_result(answer, context())
    assert "EXECUTION_EXCEPTION" in rounds.aggregator.row["left_out"]["site-3"]


def test_a_round_of_nobody_leaves_the_tuned_part(folder: Path) -> None:
    model = TunedPersistor().load_model(context())
    now = context(**{AppConstants.GLOBAL_MODEL: model, AppConstants.CURRENT_ROUND: 0})
    for tensor in from_shareable(TunedAggregator().aggregate(now)).data.values():
        np.testing.assert_array_equal(tensor, 0)


def test_no_code_travels_in_a_job(tmp_path: Path) -> None:
    options = {"percentile": 50, "gamma": 0.1}
    federated_job(5, privacy="percentile", privacy_options=options).export_job(str(tmp_path))
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".json"}
    client = read_json(tmp_path / "samparser" / "app" / "config" / "config_fed_client.json")
    assert client["task_result_filters"][0]["filters"][0]["args"]["percentile"] == 50


def test_a_kit_may_build_what_the_job_names(tmp_path: Path) -> None:
    import federated
    from nvflare.app_common.widgets.component_path_authorizer import ComponentPathAuthorizer

    federated_job(5, own_epochs=1, privacy="svt").export_job(str(tmp_path))
    assert federated.main(["allow", str(tmp_path / "kit")]) == 0
    resources = read_json(tmp_path / "kit" / "local" / "resources.json")
    assert resources["allow_log_streaming"] is False
    allowed = resources["class_allow_list"]
    names = [
        name
        for path in (tmp_path / "samparser").rglob("config_fed_*.json")
        for name in re.findall(r'"path": "([\w.]+)"', path.read_text())
    ]
    assert len(names) > 6
    for name in names:
        assert any(ComponentPathAuthorizer._path_matches_prefix(name, a) for a in allowed), name


def task(agreed: dict[str, Any], tensors: dict[str, np.ndarray]) -> Shareable:
    found = DXO(DataKind.WEIGHTS, tensors, {ABOUT: agreed}).to_shareable()
    found.set_header(AppConstants.NUM_ROUNDS, 2)
    found.set_header(AppConstants.CURRENT_ROUND, 0)
    return found


def test_a_site_answers_with_numbers_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nvflare.fuel.utils import fobs

    monkeypatch.setenv(FOLDER, str(tmp_path))
    small = {key: SMALL[key] for key in ("backbone", "min_area", "min_volume", "coefficient_rate")}
    data = make_dataset(tmp_path / "ct")
    own = {"bundle_root": str(ROOT), "dataset_dir": str(data), "cache_dir": str(tmp_path / "cache")}
    (tmp_path / "a.json").write_text(json.dumps({**small, **own}))
    executor, here = TunedExecutor(), context()
    here.get_identity_name = lambda: "a"
    site = executor._site("a", 2)
    about, tensors = site.about, site.tuned()
    reply = executor.execute("train", task(about, tensors), here, Signal())
    answer = from_shareable(reply)
    assert set(answer.data) == set(tensors) and answer.meta[ABOUT] == fingerprint(about)
    assert set(answer.meta) == {MetaKey.NUM_STEPS_CURRENT_ROUND, ABOUT}
    bytes_sent = fobs.dumps(reply)
    assert len(bytes_sent) < 4 * 64 + 1500
    for private in (str(tmp_path), "case_0", "liver"):
        assert private.encode() not in bytes_sent

    other = executor.execute("train", task({**about, "window": [0, 1]}, tensors), here, Signal())
    assert from_shareable(other).data == {} and from_shareable(other).meta[ABOUT] == about

    (tmp_path / "a.json").unlink()
    failed = TunedExecutor().execute("train", task(about, tensors), here, Signal())
    assert failed.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_a_rehearsal_runs_and_goes_on(tmp_path: Path) -> None:
    import federated

    small = [f"{key}={SMALL[key]}" for key in ("backbone", "min_area", "min_volume")]
    words = ["demo", str(tmp_path), "--cases", "2", "--set", *small, f"cache_dir={tmp_path}/cache"]
    assert federated.main([*words, "--rounds", "1"]) == 0
    again = ["simulate", str(tmp_path), "--rounds", "2", "--own-epochs", "1"]
    assert federated.main(again) == 0
    rows = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 1]
    assert all(len(row["sites"]) == 3 and not row["left_out"] for row in rows)
    tensors, about = read_tuned(tmp_path / "tuned.safetensors")
    assert about[ROUNDS_DONE] == 2 and max(t.abs().max() for t in tensors.values()) > 0
    own = read_tuned(tmp_path / "site-1_own.safetensors")[0]  # trained on after the rounds
    assert any((own[name] != tensor).any() for name, tensor in tensors.items())
    assert all((tmp_path / f"site-{n}_own.safetensors").exists() for n in (2, 3))

    assert federated.main([*again[:2], "--rounds", "3", "--most-step", "1e-6"]) == 0
    row = json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[-1])
    assert not row["sites"] and set(row["left_out"]) == {"site-1", "site-2", "site-3"}
    assert all("above most_step=1e-06" in reason for reason in row["left_out"].values())
    after = read_tuned(tmp_path / "tuned.safetensors")[0]
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors.items())


def assert_step(step: np.ndarray, wanted: np.ndarray) -> None:
    """A training sums in the order of its threads: a site's differs from ours in last digits."""
    np.testing.assert_allclose(step, wanted, rtol=0, atol=1e-2 * np.abs(wanted).max() + 3e-6)


def test_names_are_learned_together(tmp_path: Path) -> None:
    import federated
    from federated_sites import SCANNERS, make_site

    labelled = {"site-1": (1, 2), "site-2": (1, 3)}  # liver and kidney, liver and spleen
    own = {**{key: SMALL[key] for key in ("backbone", "min_area", "min_volume")}, "names": True}
    for number, (site, values) in enumerate(labelled.items()):
        data = make_site(tmp_path / "data" / site, SCANNERS[site], number + 2, 100 * number)
        for path in (data / "labels").iterdir():
            label = nib.load(path)
            known = np.asarray(label.dataobj)
            nib.save(
                nib.Nifti1Image(np.where(np.isin(known, values), known, 0), label.affine), path
            )
        settings = {**own, "bundle_root": str(ROOT), "dataset_dir": str(data)}
        settings["cache_dir"] = str(tmp_path / "cache")
        (tmp_path / f"{site}.json").write_text(json.dumps(settings))
    words = [f"{key}={json.dumps(value)}" for key, value in own.items()]
    assert federated.main(["start", str(tmp_path), "--set", *words]) == 0
    assert federated.main(["simulate", str(tmp_path), "--rounds", "1"]) == 0
    (row,) = map(json.loads, (tmp_path / "rounds.jsonl").read_text().splitlines())
    assert {name: site["cases"] for name, site in row["sites"].items()} == dict(
        zip(labelled, (1, 2), strict=True)
    )
    start, now = (read_tuned(tmp_path / f"{name}.safetensors")[0] for name in ("start", "tuned"))
    begun = {name: tensor.numpy() for name, tensor in start.items()}
    updates = [
        Site(site, read_json(tmp_path / f"{site}.json"), 1, 1).train(begun, 0) for site in labelled
    ]
    assert [update.named for update in updates] == [(1, 1, 0, 0), (2, 0, 2, 0)]
    mean = average(updates, begun, 1000)
    steps = {name: (now[name] - tensor).numpy() for name, tensor in start.items()}
    for name, step in steps.items():
        assert_step(step, mean[name])
    for name in NAMED:
        one, two = (update.steps[name] for update in updates)
        assert_step(steps[name][0], (one[0] + 2 * two[0]) / 3)  # liver
        assert_step(steps[name][1], one[1])  # kidney
        assert_step(steps[name][2], two[2])  # spleen
        assert all(step.any() for step in steps[name][:3])
        assert not steps[name][3].any()  # pancreas
