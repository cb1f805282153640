"""One network between requests that ask for different tuned parts."""

import contextvars
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LABELS, ROOT, ct, move, save_volume

sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))
from lib.turns import CLICK, LEFT, VOLUME, Gone

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import build
from samparser_monai.tuned.part import save_tuned
from samparser_monai.volumes.propagation import Propagation

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
    assert order.count("volume") > 3  # it went on


def test_who_has_left_is_not_computed_to_the_end(volumes: Any, tmp_path: Path) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    session, _ = volumes.session(path, "start")
    asked: list[int] = []
    before = LEFT.set(lambda: len(asked) == 2 or bool(asked.append(0)))
    try:
        with pytest.raises(Gone, match="after 2"), volumes.model.turns.taken(VOLUME, "volume"):
            session.segment([{**BOX, "box": [4, 12, 0, 24, 32, 5]}], Propagation())
        with volumes.model.turns.taken(VOLUME, "another"), ThreadPoolExecutor(1) as pool:
            LEFT.set(lambda: True)
            waiting = contextvars.copy_context()  # behind another it leaves too
            with pytest.raises(Gone, match="before"):
                pool.submit(waiting.run, answer, volumes, path, "start").result(30)
    finally:
        LEFT.reset(before)
    assert answer(volumes, path, "start").isfinite().all()


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
