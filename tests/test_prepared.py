"""What is made of a picture once: found without making it, and never an old one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from closeness import assert_near
from monai.data import Dataset
from monai.data.utils import set_rnd
from monai.transforms import Compose, RandGaussianNoised, ScaleIntensityRanged, Transform

from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients
from samparser_monai.sam import SamNetwork, build
from samparser_monai.training.features import FeatureCache
from samparser_monai.training.fingerprint import fingerprint
from samparser_monai.training.loader import FeatureLoader, fill_features
from samparser_monai.training.naming import RandNamesd
from samparser_monai.training.transforms import (
    IntoFramed,
    RandAugmentd,
    RandInstancesd,
    RandLoosenBoxesd,
)
from samparser_monai.volumes.transforms import Instancesd, NamedOrgansd

LOADED: list[str] = []


class LoadNumpyd(Transform):
    """Read a picture and its truth, and note it."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, item: dict) -> dict:
        LOADED.append(item["case"])
        image, truth = np.load(item["file"])
        image = torch.from_numpy(np.repeat(image[None], 3, 0)).float() * self.scale
        return {**item, "image": image, "truth": truth}


def chain(scale: float = 1.0, window: float = 255.0, mean: float = 0.0, names: str = "") -> Compose:
    frame = IntoFramed(128, 32, [mean] * 3, [100.0] * 3)
    return Compose(
        [
            Compose([LoadNumpyd(scale), ScaleIntensityRanged("image", 0, window, 0, 255)]),
            *([NamedOrgansd(128, 32)] if names else []),
            RandInstancesd(2, key="annotations"),
            Compose([Instancesd(4), frame]),
            RandLoosenBoxesd(20, 128),
            RandInstancesd(2),
            *([RandNamesd([*names], 0.5, 128, 32)] if names else []),
        ]
    )


@pytest.fixture
def items(tmp_path: Path) -> list[dict]:
    random, found = np.random.default_rng(0), []
    for n in range(3):
        truth = np.zeros((40, 50), np.uint8)
        for organ in range(1, 4):
            truth[10 * organ : 10 * organ + 6, 5 * n + 8 : 5 * n + 20] = organ
        np.save(tmp_path / f"{n}.npy", np.stack([random.integers(0, 255, (40, 50)), truth]))
        found.append({"case": str(n), "file": str(tmp_path / f"{n}.npy")})
    return found


def loaded(
    items: list[dict], folder: Path, network: SamNetwork | None = None, **options: Any
) -> FeatureLoader:
    """Return a filled loader, as a process makes it when it starts."""
    LOADED.clear()
    loader = FeatureLoader(Dataset(items, chain(**options)), batch_size=3)
    cache = FeatureCache(folder / "cache", "float32")
    fill_features(loader, network or coefficients(build("tiny")), cache)
    return loader


def test_prepared_is_what_would_be_made(items: list[dict], tmp_path: Path) -> None:
    loader, plain = loaded(items, tmp_path), FeatureLoader(Dataset(items, chain()), batch_size=3)
    for seed in (1, 2):
        for one in (loader, plain):
            set_rnd(one.dataset, seed=seed)
        (batch,), (expected,) = loader, plain
        assert [len(boxes) for boxes in batch["boxes"]] == [2, 2, 2]
        assert torch.equal(batch["label"], expected["label"])
        for name in ("boxes", "organs", "truth"):
            for got, wanted in zip(batch[name], expected[name], strict=True):
                assert torch.equal(got, torch.as_tensor(wanted)), name
        assert_near(batch["features"], coefficients(build("tiny")).features(expected["image"]))
        assert [tuple(size) for size in batch["size"]] == expected["size"]


def test_slices_asked_by_names_are_prepared(items: list[dict], tmp_path: Path) -> None:
    np.save(items[0]["file"], np.load(items[0]["file"]) * [[[1]], [[0]]])  # it shows no organ
    items = [{**item, "named": ["a", "c"]} for item in items]
    loaded(items, tmp_path, names="abc")
    loader = loaded(items, tmp_path, names="abc")
    plain = FeatureLoader(Dataset(items, chain(names="abc")), batch_size=3)
    asked = set()
    for seed in range(4):
        for one in (loader, plain):
            set_rnd(one.dataset, seed=seed)
        LOADED.clear()
        (batch,) = loader
        assert not LOADED
        (expected,) = plain
        assert batch["names"][0].tolist() == [0, 2]
        for name in ("names", "boxes", "label"):
            for got, wanted in zip(batch[name], expected[name], strict=True):
                assert torch.equal(got, wanted), name
        asked |= {tuple(names.tolist()) for names in batch["names"][1:]}
    assert asked == {(-1, -1), (-1, -1, 0, 2)}


def test_second_start_reads_no_picture(items: list[dict], tmp_path: Path) -> None:
    (first,) = loaded(items, tmp_path)
    assert LOADED == ["0", "1", "2"]
    loader = loaded(items, tmp_path)
    set_rnd(loader.dataset, seed=0)
    (second,) = loader
    assert not LOADED and torch.equal(first["features"], second["features"])


def changed_file(items: list[dict]) -> dict:
    path = Path(items[0]["file"])
    state, (image, truth) = path.stat(), np.load(path)
    np.save(path, np.stack([255 - image, truth]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # a copy may keep the time
    assert path.stat().st_size == state.st_size
    return {}


def changed_weight(items: list[dict]) -> dict:
    network = coefficients(build("tiny"))
    with torch.no_grad():
        network.image_encoder.blocks[0].mlp.lin1.weight += 1
    return {"network": network}


@pytest.mark.parametrize(
    "change",
    [
        changed_file,
        changed_weight,
        lambda items: {"scale": 0.5},
        lambda items: {"window": 200.0},
        lambda items: {"mean": 1.0},
    ],
    ids=["file", "weight", "load", "window", "frame"],
)
def test_what_has_changed_never_meets_an_old_entry(
    change: Callable[[list[dict]], dict], items: list[dict], tmp_path: Path
) -> None:
    (old,) = loaded(items, tmp_path)
    options = change(items)
    (new,) = loaded(items, tmp_path, **options)
    (fresh,) = loaded(items, tmp_path / "elsewhere", **options)
    assert not torch.equal(new["features"][0], old["features"][0])
    assert torch.equal(new["features"], fresh["features"])


@pytest.mark.parametrize("place", [0, 60])
def test_a_damaged_entry_is_made_again(place: int, items: list[dict], tmp_path: Path) -> None:
    loader = loaded(items, tmp_path)
    path = next((tmp_path / "cache").rglob("*.item"))
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    (batch,) = loader
    assert batch["features"] is None and batch["image"].shape == (3, 3, 128, 128)
    loaded(items, tmp_path)
    assert path.read_bytes() == whole


def outer(number: float) -> Callable[[float], float]:
    return lambda value: value + number


def test_fingerprints_differ_where_objects_do() -> None:
    class Holder:
        def __init__(self, value: object) -> None:
            self.value = value

    values = [0, 1, 1.0, "1", True, None, [1], [[1]], {"a": 1}, {"a": 2}, torch.ones(2), len]
    values += [torch.ones(2, 1), np.ones(2), outer(1), outer(2), outer, Holder, Holder(1)]
    values += [lambda value: value + 1, lambda value: value + 2, {1, 2}, Holder(Holder(1))]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(Holder([outer(1), {"b", "a"}])) == fingerprint(
        Holder([outer(1), {"a", "b"}])
    )
    augment = [RandAugmentd([RandGaussianNoised("image", prob=1.0, std=std)]) for std in (1, 1, 2)]
    for seed, transform in enumerate(augment):
        transform.set_random_state(seed)
    one, same, other = map(fingerprint, augment)
    assert one == same != other
    with pytest.raises(InputError, match="--cache_features False"):
        fingerprint(Holder(iter([1])))
