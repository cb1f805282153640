"""The cache of the frozen prefix: exact, never stale, never damaged."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_near, assert_trained_alike
from conftest import read_json, run, started
from monai.data import Dataset
from monai.transforms import RandGaussianNoised, Transform

from samparser_monai.methods import (
    coefficients,
    decoder_only,
    late_lora,
    lora_xs,
    s_sam,
    salt,
    svft,
)
from samparser_monai.sam import SamNetwork, build
from samparser_monai.sam.engines import prefix_hash
from samparser_monai.training.ahead import AheadLoader, made_ahead
from samparser_monai.training.features import FeatureCache
from samparser_monai.training.loader import FeatureLoader, fill_features
from samparser_monai.training.transforms import RandAugmentd


@pytest.fixture
def network() -> SamNetwork:
    return coefficients(build("tiny"))


@pytest.fixture
def pictures() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    return Dataset([{"image": torch.randn(3, 128, 128, generator=generator)} for _ in range(4)])


AUGMENTATION = [
    {"_target_": "RandFlipd", "keys": ["image", "truth"], "prob": 0.5, "spatial_axis": 1},
    {"_target_": "RandGaussianNoised", "keys": "image", "prob": 1.0, "std": 5.0},
]


def train(dataset: Path, root: Path, **overrides: object) -> dict:
    run(
        "train",
        "train",
        run_id="training",
        **overrides,
        dataset_dir=str(dataset),
        output_dir=str(root / "eval"),
        ckpt_dir=str(root / "models"),
    )
    return {
        **torch.load(root / "models" / "checkpoint_epoch=2.pt", weights_only=True)["network"],
        "loss": torch.tensor([r["loss"] for r in read_json(root / "eval/training.json")["epochs"]]),
    }


@pytest.mark.parametrize(
    ("storage", "tolerance", "augmented"),
    [
        ("float32", 1e-5, {}),
        ("float16", 1e-2, {}),
        ("float32", 1e-5, {"augmentation": AUGMENTATION, "views": 2}),
    ],
)
def test_training_is_the_same_with_and_without(
    storage: str,
    tolerance: float,
    augmented: dict,
    dataset: Path,
    overrides: dict,
    tmp_path: Path,
) -> None:
    overrides |= {"cache_storage": storage, **augmented}
    with_cache = train(dataset, tmp_path / "with", **overrides)
    pictures = 12 * augmented.get("views", 1) + 6  # of training, and of validation
    assert len(list((tmp_path / "cache" / "features").rglob("*.safetensors"))) == pictures
    without = train(dataset, tmp_path / "without", **overrides, cache_features=False)
    assert_near(with_cache.pop("loss"), without.pop("loss"), tolerance)
    start = coefficients(build("tiny")).state_dict()
    assert_trained_alike(with_cache, without, start, tolerance)


def test_augmentation_without_views_is_not_cached_and_changes_the_training(
    dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    plain = train(dataset, tmp_path / "plain", **overrides, cache_features=False)
    other = train(dataset, tmp_path / "other", **overrides, augmentation=AUGMENTATION)
    assert not torch.equal(plain["loss"], other["loss"])
    assert len(list((tmp_path / "cache" / "features").rglob("*.safetensors"))) == 6  # validation


@pytest.mark.parametrize("method", [coefficients, partial(late_lora, blocks=1)])
def test_entries_are_the_prefix(
    method: Callable[[SamNetwork], SamNetwork], pictures: Dataset, tmp_path: Path
) -> None:
    network = method(build("tiny"))
    loader = FeatureLoader(pictures, batch_size=2)
    fill_features(loader, network, FeatureCache(tmp_path, "float32"))
    images = torch.stack([item["image"] for item in pictures.data])
    found = torch.cat([batch["features"] for batch in loader])
    # pictures one by one or together: the order of sums
    assert_near(found, network.features(images))


def test_second_filling_computes_nothing(
    network: SamNetwork, pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FeatureCache(tmp_path).fill(pictures, network)
    monkeypatch.setattr(network, "features", None)
    assert FeatureCache(tmp_path).fill(pictures, network) == first


def test_threads_fill_as_one_does(network: SamNetwork, tmp_path: Path) -> None:
    """Each has an augmentation of its own, whose state is that of the picture in work."""
    items = [
        {"image": torch.zeros(3, 128, 128), "truth": np.ones((128, 128)), "case": str(n), "view": 1}
        for n in range(12)
    ]
    dataset = Dataset(items, RandAugmentd([RandGaussianNoised("image", prob=1.0)]))
    one, many = (FeatureCache(tmp_path / str(n)).fill(dataset, network, 2, n) for n in (0, 3))
    assert one == many and len(set(one)) == len(items)


def test_what_is_made_ahead_keeps_its_order_and_its_errors() -> None:
    before = torch.get_num_threads()
    assert list(made_ahead(lambda n: n * n, range(20), 3)) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(made_ahead(lambda n: 1 // n, [1, 0, 2], 2))
    assert torch.get_num_threads() == before
    loader = AheadLoader(Dataset([1, 2, 0], lambda n: 2 // n), collate_fn=list)
    batches = iter(loader)
    assert [next(batches), next(batches)] == [[2], [1]]
    with pytest.raises(RuntimeError, match="applying transform"):
        next(batches)


def test_key_follows_pixels_prefix_and_weights(network: SamNetwork, tmp_path: Path) -> None:
    cache, pixels = FeatureCache(tmp_path), torch.zeros(3, 8, 8)
    other = decoder_only(build("tiny"))
    prefixes = [prefix_hash(network), prefix_hash(other)]
    with torch.no_grad():
        network.image_encoder.blocks[0].mlp.lin1.weight[0, 0] += 1
    prefixes.append(prefix_hash(network))
    keys = {cache.key(pixels, prefix) for prefix in prefixes}
    keys |= {cache.key(pixels + 1, prefixes[0]), cache.key(pixels.view(3, 4, 16), prefixes[0])}
    keys.add(FeatureCache(tmp_path, "float32").key(pixels, prefixes[0]))
    keys |= {cache.key(pixels, prefixes[0], grey) for grey in ([0.0, 1.0], [0.0, 2.0])}
    assert len(keys) == 8


def test_key_does_not_follow_what_is_tuned(network: SamNetwork) -> None:
    before = prefix_hash(network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 1
    assert prefix_hash(network) == before


def test_one_filling_serves_all_that_lies_between_the_bases() -> None:
    own = {"decoder": "frozen"}
    networks = [
        coefficients(build("tiny")),
        lora_xs(build("tiny"), rank=3, **own),
        svft(build("tiny"), pattern="random", step="log"),
        s_sam(build("tiny"), space="neck", norms=False),
        salt(build("tiny"), space="neck", **own),
    ]
    assert len({prefix_hash(network) for network in networks}) == 1
    late = {n: late_lora(build("tiny"), blocks=n) for n in (1, 2)}
    other = late_lora(build("tiny"), blocks=1, rank=2, **own)
    assert prefix_hash(late[1]) == prefix_hash(other) != prefix_hash(late[2])


def test_views_take_turns(network: SamNetwork, pictures: Dataset, tmp_path: Path) -> None:
    class Shifted(Transform):
        def __call__(self, item: dict) -> dict:
            return {**item, "image": item["image"] + item.get("view", 0)}

    dataset = Dataset(pictures.data, Shifted())
    loader = FeatureLoader(dataset, views=2, batch_size=4)
    fill_features(loader, network, FeatureCache(tmp_path, "float32"))
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        (batch,) = loader
        shifted = torch.stack([item["image"] + epoch % 2 for item in pictures.data])
        expected = network.features(shifted)
        assert_near(batch["features"], expected)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pictures_without_room_are_computed_at_every_step(
    batch_size: int, network: SamNetwork, pictures: Dataset, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features")
    (key,) = cache.fill(Dataset(pictures.data[:1]), network)
    room = 2.5 * cache.path(key).stat().st_size / 1e9
    loader = FeatureLoader(pictures, batch_size=2)
    fill_features(loader, network, FeatureCache(cache.folder, limit=room * 1e9), batch_size)
    first, second = loader
    assert "features" in first and "features" not in second
    assert second["image"].shape == (2, 3, 128, 128)
    assert len(list(cache.folder.rglob("*.safetensors"))) == 2


def test_least_recently_used_entries_go(
    network: SamNetwork, pictures: Dataset, tmp_path: Path
) -> None:
    old, used, *_ = FeatureCache(tmp_path).fill(Dataset(pictures.data[:2]), network)
    size = FeatureCache(tmp_path).path(old).stat().st_size
    os.utime(FeatureCache(tmp_path).path(old), (0, 0))
    small = FeatureCache(tmp_path, limit=int(2.5 * size))
    keys = small.fill(Dataset(pictures.data[1:3]), network)
    assert keys[0] == used and None not in keys
    assert {path.stem for path in tmp_path.rglob("*.safetensors")} == set(keys)


def fill_slowly(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [{"image": torch.randn(3, 128, 128, generator=generator)} for _ in range(8)]
    dataset = Dataset(images, lambda item: time.sleep(0.2) or item)
    FeatureCache(folder).fill(dataset, coefficients(build("tiny")))


def test_killed_filling_leaves_whole_entries_beside_another(tmp_path: Path) -> None:
    killed, other = (started(fill_slowly, tmp_path) for _ in range(2))
    while not list(tmp_path.rglob("*.safetensors")):
        assert killed.is_alive() and other.is_alive()
        time.sleep(0.01)
    killed.kill()
    killed.join()
    other.join()
    assert killed.exitcode and other.exitcode == 0
    entries = list(tmp_path.rglob("*.safetensors"))
    assert len(entries) == 8
    assert all(FeatureCache(tmp_path).read(path.stem) is not None for path in entries)


def fill_with_others(folder: Path, limit: int, number: int) -> None:
    network = coefficients(build("tiny"))
    for turn in range(3):
        generator = torch.Generator().manual_seed(10 * turn + number // 2)  # two have the same
        images = [{"image": torch.randn(3, 128, 128, generator=generator)} for _ in range(6)]
        FeatureCache(folder, limit=limit).fill(Dataset(images), network)


def test_four_processes_share_a_folder_that_is_too_small(
    network: SamNetwork, pictures: Dataset, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    limit = 8 * cache.path(cache.fill(pictures, network)[0]).stat().st_size
    running = [started(fill_with_others, tmp_path, limit, n) for n in range(4)]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * 4
    entries = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert entries and sum(path.stat().st_size for path in entries) <= limit
    assert all(cache.read(path.stem) is not None for path in entries)


@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_damaged_entry_is_computed_again(
    place: float, network: SamNetwork, pictures: Dataset, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features")
    loader = FeatureLoader(pictures)
    fill_features(loader, network, cache)
    path = cache.path(cache.fill(pictures, network)[0])
    whole = path.read_bytes()
    at = int(place * len(whole)) if place == 0.5 else int(place)
    broken = bytearray(whole)
    broken[at] ^= 1
    path.write_bytes(broken)
    assert ["features" in batch for batch in loader] == [False, True, True, True]
    fill_features(loader, network, cache)
    assert path.read_bytes() == whole


def test_full_disk_is_one_clear_error_and_leaves_the_rest(
    network: SamNetwork, pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import samparser_monai.training.features as features
    from samparser_monai.errors import InputError

    cache, save, written = FeatureCache(tmp_path), features.save_file, []

    def until_full(tensors: dict, path: str, metadata: dict) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        save(tensors, path, metadata)

    monkeypatch.setattr(features, "save_file", until_full)
    with pytest.raises(InputError, match=r"disk of cache_dir=.* is full: free some space"):
        cache.fill(pictures, network)
    entries = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(entries) == 2 and all(cache.read(path.stem) is not None for path in entries)
