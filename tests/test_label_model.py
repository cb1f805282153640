"""One network between requests that ask for different tuned parts."""

import contextvars
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LABELS, ROOT, ct, move, save_volume
from monai.data import MetaTensor

sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))
from lib.asked import Asked
from lib.history import Packed
from lib.requests import prompts_of
from lib.turns import CLICK, LEFT, VOLUME, Gone

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import build
from samparser_monai.tuned.part import save_tuned
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.segmentation import Mask, Segmentation

BOX = {"label": "liver", "box": [4, 12, 3, 24, 32, 3]}


@pytest.fixture
def volumes(tmp_path: Path) -> Any:
    """Return the open volumes of a bundle with the tuned parts ``start``, ``a`` and ``b``."""
    from lib.model import Model
    from lib.volumes import OpenVolumes

    network = methods.coefficients(build("tiny"))
    (tmp_path / "models" / "tuned").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    for seed, name in enumerate("ab"):
        move(network, seed=seed)
        part = tmp_path / "models" / "tuned" / f"{name}.safetensors"
        save_tuned(part, network, {}, network.state_dict())
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "inference.json", tmp_path / "configs")
    return OpenVolumes(Model(tmp_path, {"backbone": "tiny", "labels": LABELS}))


def answer(volumes: Any, path: str, tuned: str, prompt: dict = BOX) -> torch.Tensor:
    """Return the logits of a request, which computes when it is its turn."""
    session, name = volumes.session(path, tuned)
    assert name == tuned
    with volumes.model.turns.taken(1, path):
        return session.segment([prompt]).masks[3][0].logits


def test_requests_at_once_never_mix_tuned_parts(volumes: Any, tmp_path: Path) -> None:
    paths = [str(save_volume(tmp_path / f"{n}.nii.gz", ct(n)[0])) for n in range(2)]
    asked = [(path, tuned) for path in paths for tuned in ("start", "a", "b")]
    alone = [answer(volumes, *one) for one in asked]
    assert not any(torch.equal(alone[0], other) for other in alone[1:])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            together = list(pool.map(lambda one: answer(volumes, *one), asked))
            assert all(map(torch.equal, alone, together))


def test_tuned_parts_have_what_is_frozen_in_common(volumes: Any) -> None:
    networks = [dict(volumes.model.network(n).named_parameters()) for n in ("start", "a", "b")]
    for name, start in networks[0].items():
        shared = {start.data_ptr() == other[name].data_ptr() for other in networks[1:]}
        assert shared == {not start.requires_grad}


def test_a_click_is_answered_between_the_slices_of_a_volume(volumes: Any, tmp_path: Path) -> None:
    turns, path = volumes.model.turns, str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    session, _ = volumes.session(path, "start")
    begun, order = threading.Event(), []
    told = turns.next

    def following(*given: Any) -> None:
        order.append(threading.current_thread().name)
        begun.set()
        while len(order) == 1 and not turns._waiting:  # until the click waits
            time.sleep(0.01)
        told()

    hooks = session.network.prompt_encoder._forward_pre_hooks
    hooks[next(iter(hooks))] = following

    def volume() -> None:
        with turns.taken(VOLUME, "volume"):
            session.segment([{**BOX, "box": [4, 12, 0, 24, 32, 5]}], Propagation())

    whole = threading.Thread(target=volume, name="volume")
    whole.start()
    assert begun.wait(30)
    click, _ = volumes.session(path, "start")
    with turns.taken(CLICK, "click"):
        click.segment([BOX])
    whole.join()
    place = order.index("MainThread")
    assert place == 1
    assert order.count("volume") > 1  # it went on


def test_a_volume_goes_on_under_a_rain_of_clicks(volumes: Any) -> None:
    turns, answered, raining = volumes.model.turns, [0, 0], threading.Event()

    def clicking() -> None:
        while not raining.is_set():
            with turns.taken(CLICK, "click"):
                answered[0] += 1
                time.sleep(0.02)

    clicks = [threading.Thread(target=clicking) for _ in range(2)]  # one waits always
    for one in clicks:
        one.start()
    with turns.taken(VOLUME, "volume"):
        begun = time.monotonic()
        while time.monotonic() - begun < 0.5:
            answered[1] += 1
            time.sleep(0.02)
            turns.next()
    raining.set()
    for one in clicks:
        one.join()
    assert answered[0] > 10
    assert answered[1] > 5


def test_slices_near_the_viewed_one_are_computed_ahead_after_all_others(
    volumes: Any, tmp_path: Path
) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    session, _ = volumes.session(path, "start")
    turns, order, seen = volumes.model.turns, [], session.embedding
    done = threading.Event()

    def embedding(k: int) -> torch.Tensor:
        order.append(k)
        if len(order) == session.view.depth:
            done.set()
        return seen(k)

    session.embedding = embedding
    with turns.taken(CLICK, "click"):
        volumes.ahead.near(session, 4)
        time.sleep(0.2)
        assert not order  # it waits for the click
    assert done.wait(30)
    with turns.taken(CLICK, "another"):
        assert [abs(k - 4) for k in order] == sorted(abs(k - 4) for k in order)
    click, _ = volumes.session(path, "start")
    click.segment([BOX])
    assert click.computed == 0


def test_who_has_left_is_not_computed_to_the_end(volumes: Any, tmp_path: Path) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    session, _ = volumes.session(path, "start")
    asked: list[int] = []
    before = LEFT.set(lambda: len(asked) == 40 or bool(asked.append(0)))
    try:
        with (
            pytest.raises(Gone, match="has left, after"),
            volumes.model.turns.taken(VOLUME, "volume"),
        ):
            session.segment([{**BOX, "box": [4, 12, 0, 24, 32, 5]}], Propagation())
        with volumes.model.turns.taken(VOLUME, "another"), ThreadPoolExecutor(1) as pool:
            LEFT.set(lambda: True)
            waiting = contextvars.copy_context()  # behind another it leaves too
            with pytest.raises(Gone, match="before"):
                pool.submit(waiting.run, answer, volumes, path, "start").result(30)
    finally:
        LEFT.reset(before)
    assert answer(volumes, path, "start").isfinite().all()


@pytest.fixture
def person(volumes: Any, tmp_path: Path) -> Any:
    """Return a function that asks for the liver of an image, and returns its prompts and voxels."""
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))

    def ask(client: str | None, dimension: int = 3, **request: Any) -> tuple[list, np.ndarray]:
        session, _ = volumes.session(path, "start")
        given = {"image": path, "client_id": client, "label": "liver", **request}
        asked = Asked(given, session, volumes.history, dimension)
        if "undo" in request:
            return [], asked.undone().numpy()[0]
        if "selected_label_name" in request:
            prompts = asked.scribbled()
        else:
            prompts = asked.going_on(prompts_of(given, list(LABELS), asked.shape, dimension))
        found = session.segment(prompts, Propagation(evidence=0) if dimension == 3 else None)
        return prompts, asked.remembered(found.labels(), prompts).numpy()[0]

    return ask


ROI = [4, 24, 12, 32, 2, 4]


def test_a_click_goes_on_from_the_last_answer_of_its_person(person: Any) -> None:
    _, box = person("ann", roi=ROI)
    (one, *_), first = person("ann", roi=ROI, foreground=[[40, 12, 3]])
    assert "mask" in one
    assert "box" not in one  # it was answered
    assert np.array_equal(one["mask"].numpy()[0], box)
    assert first[40, 12, 3] == 1
    far = [k for k in range(6) if not 2 <= k <= 4]
    assert np.array_equal(first[:, :, far], box[:, :, far])
    (one,), _ = person("ann", roi=ROI, foreground=[[40, 12, 3], [42, 12, 3]])
    assert np.array_equal(one["mask"].numpy()[0], first)
    for other in ("bob", None):
        prompts, _ = person(other, roi=ROI, foreground=[[12, 22, 3]])
        assert "mask" not in prompts[0]
    anew, _ = person("ann", roi=ROI, foreground=[[40, 12, 3]], go_on=False)
    assert "mask" not in anew[0]
    moved, _ = person("ann", roi=[5, *ROI[1:]])
    assert "mask" not in moved[0]


@pytest.mark.parametrize("roi", [None, ROI])
def test_a_click_that_takes_most_of_the_body_is_doubted(
    volumes: Any, tmp_path: Path, roi: list | None
) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    session, _ = volumes.session(path, "start")
    given = {"image": path, "label": "liver", "roi": roi, "foreground": [[14, 22, 3]]}
    asked = Asked(given, session, volumes.history, 2)
    asked.going_on(prompts_of(given, list(LABELS), asked.shape, 2))
    for share, doubted in ((0.9, True), (0.1, False)):
        logits = torch.full((64, 64), -9.0)
        logits[: int(64 * share)] = 9.0
        masks = {3: [Mask("liver", logits, 0.9)]}
        found = Segmentation(session.view, session.labels, session.backbone.image_size, masks)
        told = asked.doubts(found)
        assert bool(told) == (doubted and roi is None)
        assert not told or "draw a box" in told[0]


def test_undo_goes_back_step_by_step(person: Any) -> None:
    _, box = person("ann", roi=ROI)
    _, click = person("ann", roi=ROI, foreground=[[40, 12, 3]])
    assert not np.array_equal(box, click)
    assert np.array_equal(person("ann", undo=True)[1], box)
    assert not person("ann", undo=True)[1].any()
    with pytest.raises(InputError, match="nothing to undo"):
        person("ann", undo=True)
    with pytest.raises(InputError, match="nothing to undo"):
        person(None, undo=True)


def test_a_slice_goes_on_from_the_volume_and_the_volume_from_it(person: Any) -> None:
    _, whole = person("ann", roi=ROI)
    (one,), flat = person("ann", 2, slice=3, foreground=[[40, 12, 3]])
    assert not np.delete(one["mask"].numpy()[0], 3, axis=2).any()
    assert not np.delete(flat, 3, axis=2).any()
    (one,), _ = person("ann", roi=ROI, foreground=[[40, 12, 3], [12, 22, 4]], fixed=[2])
    now = one["mask"].numpy()[0]
    assert np.array_equal(now[:, :, 3], flat[:, :, 3])
    assert np.array_equal(np.delete(now, 3, axis=2), np.delete(whole, 3, axis=2))
    assert one["fixed"] == [2]


def test_a_click_goes_on_from_what_was_found_by_name(
    person: Any, volumes: Any, tmp_path: Path
) -> None:
    found = np.zeros((48, 40, 6), np.uint8)
    found[10:18, 18:26, 1:5] = 1
    path = str(tmp_path / "0.nii.gz")
    session, _ = volumes.session(path, "start")
    auto = Asked({"image": path, "client_id": "ann"}, session, volumes.history, 3)
    volume = MetaTensor(torch.from_numpy(found[None]), affine=session.view.volume.affine)
    auto.remembered(volume, [{"label": "liver"}, {"label": "kidney"}])
    (one,), _ = person("ann", foreground=[[12, 20, 3]])
    assert np.array_equal(one["mask"].numpy()[0], found)
    prompts, _ = person("ann", label="kidney", foreground=[[30, 12, 3]])
    assert "mask" not in prompts[0]  # it was found nowhere


def test_a_segment_that_is_sent_is_where_a_click_goes_on_from(person: Any, tmp_path: Path) -> None:
    drawn = ct(0)[1] == 2
    for value in (1, 2):  # 3D Slicer numbers one segment as 1
        path = save_volume(tmp_path / f"{value}.nii.gz", (drawn * value).astype(np.uint8))
        asked = {"label": "kidney", "foreground": [[30, 12, 3]], "draft": str(path)}
        (one,), found = person(None, **asked)
        assert np.array_equal(one["mask"].numpy()[0] == 2, drawn)
        assert np.array_equal(found == 2, drawn)
    other = save_volume(tmp_path / "other.nii.gz", np.where(drawn, 3, ct(0)[1]).astype(np.uint8))
    with pytest.raises(InputError, match=r"does not show 'kidney': its values are \[1, 3\]"):
        person(None, label="kidney", foreground=[[30, 12, 3]], draft=str(other))


def scribbled(folder: Path, draft: np.ndarray, **strokes: tuple) -> dict[str, Any]:
    """Return a request as 3D Slicer sends strokes: the last of its segments, over the others."""
    segments = {"Spleen": ct(0)[1] == 3, "Leber": draft}
    values, names = np.zeros(draft.shape, np.uint8), list(segments)
    for n, segment in enumerate(segments.values(), start=1):
        values[segment] = n
    for name, place in strokes.items():
        names.append(name)
        values[place] = len(names)
    path = save_volume(folder / "strokes.nii.gz", values)
    info = [{"name": name, "id": n} for n, name in enumerate(names, start=1)]
    asked = {"roi": [], "label_info": info, "selected_label_name": "Leber", "draft": str(path)}
    return {**asked, "label": None}


def test_strokes_change_what_is_there_and_hold(person: Any, tmp_path: Path) -> None:
    draft = ct(0)[1] == 1
    adds, takes, agrees = np.s_[36:44, 12:15, 3], np.s_[10:20, 20:22, 2], np.s_[8:20, 18:24, 4]
    more = {"background_scribbles": takes, "foreground_scribbles": adds}
    (one,), found = person("ann", **scribbled(tmp_path, draft, **more))
    before = one["mask"].numpy()[0] > 0
    assert np.array_equal(before, draft)  # what the strokes hide is as beside them
    kinds = np.array(one["point_labels"])
    points = np.array(one["points"])
    assert {tuple(p) for p in points[:, 2:]} == {(2,), (3,)}
    assert [(kinds == kind).sum() for kind in (0, 1)] == [6, 6]
    assert all(found[adds].ravel() == 1)
    assert not found[takes].any()
    assert np.array_equal(found[:, :, 5], np.where(draft, 1, 0)[:, :, 5])
    _, same = person("ann", **scribbled(tmp_path, draft, foreground_scribbles=agrees))
    assert np.array_equal(same == 1, draft)
    prompts, _ = person("ann", foreground=[[40, 30, 1]])
    assert np.array_equal(prompts[0]["mask"].numpy()[0] > 0, draft)  # a click goes on from it


def test_strokes_begin_an_organ_and_are_checked(person: Any, tmp_path: Path) -> None:
    nothing, stroke = np.zeros((48, 40, 6), bool), np.s_[8:20, 18:24, 3]
    asked = scribbled(tmp_path, nothing, foreground_scribbles=stroke)
    for roi, kinds in (([], {"points"}), (ROI, {"box", "points"})):
        prompts, found = person(None, **{**asked, "roi": roi})
        assert {kind for p in prompts for kind in ("box", "points") if kind in p} == kinds
        assert (found[stroke] == 1).all()
    for wrong, message in (
        ({"draft": None}, "come as a label volume"),
        ({"selected_label_name": "Segment_3"}, "selected_label_name"),
        ({"label_info": []}, "no segment 'foreground_scribbles'"),
        (scribbled(tmp_path, nothing, background_scribbles=stroke), "a foreground scribble"),
    ):
        with pytest.raises(InputError, match=message):
            person(None, **{**asked, **wrong})


def test_other_organs_can_be_locked(person: Any) -> None:
    _, liver = person("ann", roi=ROI)
    _, free = person("ann", label="kidney", roi=ROI)
    assert ((free == 2) & (liver == 1)).any()
    _, locked = person("ann", label="kidney", roi=ROI, go_on=False, lock_others=True)
    assert np.array_equal(locked, np.where(liver == 1, 0, free))


def test_a_mask_takes_few_bytes_and_comes_back() -> None:
    mask = np.zeros((200, 190, 50), bool)
    mask[20:90, 50:120, 7:30] = np.random.default_rng(0).random((70, 70, 23)) < 0.99
    for one in (mask, np.zeros_like(mask), np.ones_like(mask)):
        assert np.array_equal(Packed(one).mask(), one)
    assert len(Packed(mask).bits) < 20_000


def test_a_part_that_fails_is_not_taken_for_another(volumes: Any, tmp_path: Path) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    before = answer(volumes, path, "a")
    (tmp_path / "models" / "tuned" / "b.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        volumes.session(path, "b")
    assert torch.equal(answer(volumes, path, "a"), before)


def test_what_is_open_is_bounded_and_forgotten(volumes: Any, tmp_path: Path) -> None:
    paths = [str(save_volume(tmp_path / f"{n}.nii.gz", ct(n)[0])) for n in range(4)]
    for path in paths:
        volumes.session(path, "start")
    assert [key[0] for key in volumes.volumes] == paths[1:]
    volumes.forget(paths[2])
    assert [key[0] for key in volumes.volumes] == [paths[1], paths[3]]
