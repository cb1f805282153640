"""One network between requests that ask for different tuned parts."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LABELS, ROOT, ct, move, save_volume

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import SamNetwork, build
from samparser_monai.tuned.part import save_tuned

BOX = {"label": "liver", "box": [4, 12, 3, 24, 32, 3]}


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the open volumes of a bundle with the tuned parts ``start``, ``a`` and ``b``."""
    monkeypatch.syspath_prepend(ROOT / "bundle" / "monailabel")
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


def test_requests_at_once_never_mix_tuned_parts(
    volumes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(save_volume(tmp_path / f"{n}.nii.gz", ct(n)[0])) for n in range(2)]
    decode = SamNetwork.decode

    def slowly(*given: Any) -> Any:
        time.sleep(0.02)  # another request comes in the meantime
        return decode(*given)

    monkeypatch.setattr(SamNetwork, "decode", slowly)

    def answer(path: str, tuned: str) -> torch.Tensor:
        with volumes.using(path, tuned) as volume:
            assert volume.tuned == tuned
            return volume.session.segment([BOX]).masks[3][0].logits

    asked = [(path, tuned) for path in paths for tuned in ("start", "a", "b")]
    alone = [answer(*one) for one in asked]
    assert not any(torch.equal(alone[0], other) for other in alone[1:])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            together = list(pool.map(lambda one: answer(*one), asked))
            assert all(map(torch.equal, alone, together))


def test_a_part_that_fails_is_not_taken_for_another(volumes: Any, tmp_path: Path) -> None:
    path = str(save_volume(tmp_path / "0.nii.gz", ct(0)[0]))
    with volumes.using(path, "a") as volume:
        before = volume.session.segment([BOX]).masks[3][0].logits
    (tmp_path / "models" / "tuned" / "b.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"), volumes.using(path, "b"):
        pass
    with volumes.using(path, "a") as volume:
        assert torch.equal(volume.session.segment([BOX]).masks[3][0].logits, before)


def test_what_is_open_is_bounded_and_forgotten(volumes: Any, tmp_path: Path) -> None:
    paths = [str(save_volume(tmp_path / f"{n}.nii.gz", ct(n)[0])) for n in range(4)]
    for path in paths:
        with volumes.using(path, "start"):
            pass
    assert [key[0] for key in volumes.volumes] == paths[1:]
    volumes.forget(paths[2])
    assert [key[0] for key in volumes.volumes] == [paths[1], paths[3]]
