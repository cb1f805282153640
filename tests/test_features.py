"""The cache of the frozen prefix: exact, never stale, never damaged."""

from pathlib import Path

import pytest
import torch
from conftest import read_json, run
from monai.data import Dataset

from samparser_monai.features import FeatureCache, FeatureLoader, prefix_hash
from samparser_monai.methods import coefficients, decoder_only
from samparser_monai.sam import SamNetwork, build


@pytest.fixture
def network() -> SamNetwork:
    return coefficients(build("tiny"))


@pytest.fixture
def pictures() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    return Dataset([{"image": torch.randn(3, 128, 128, generator=generator)} for _ in range(4)])


def train(cached: bool, storage: str, dataset: Path, overrides: dict, root: Path) -> dict:
    run(
        "train",
        "train",
        run_id="training",
        **overrides,
        cache_features=cached,
        dataset_dir=str(dataset),
        output_dir=str(root / "eval"),
        ckpt_dir=str(root / "models"),
        **{"train#dataloader#storage": storage, "validate#dataloader#storage": storage},
    )
    return {
        **torch.load(root / "models" / "model.pt", weights_only=True),
        "loss": torch.tensor([r["loss"] for r in read_json(root / "eval/training.json")["epochs"]]),
    }


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_training_is_the_same_with_and_without(
    storage: str, tolerance: float, dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    with_cache = train(True, storage, dataset, overrides, tmp_path / "with")
    assert list((tmp_path / "cache" / "features").rglob("*.safetensors"))
    without = train(False, storage, dataset, overrides, tmp_path / "without")
    for name, tensor in without.items():
        torch.testing.assert_close(with_cache[name], tensor, rtol=tolerance, atol=tolerance)


def test_entries_are_the_prefix(network: SamNetwork, pictures: Dataset, tmp_path: Path) -> None:
    loader = FeatureLoader(pictures, network, tmp_path, "float32", batch_size=2)
    images = torch.stack([item["image"] for item in pictures.data])
    found = torch.cat([batch["features"] for batch in loader])
    # pictures one by one or together: the order of sums
    torch.testing.assert_close(found, network.features(images), rtol=1e-5, atol=1e-5)


def test_second_filling_computes_nothing(
    network: SamNetwork, pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FeatureCache(tmp_path).fill(pictures, network)
    monkeypatch.setattr(network, "features", None)
    assert FeatureCache(tmp_path).fill(pictures, network) == first


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
    assert len(keys) == 6


def test_key_does_not_follow_what_is_tuned(network: SamNetwork) -> None:
    before = prefix_hash(network)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 1
    assert prefix_hash(network) == before


@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_damaged_entry_is_computed_again(
    place: float, network: SamNetwork, pictures: Dataset, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    key = cache.fill(pictures, network)[0]
    path = cache.path(key)
    whole = path.read_bytes()
    at = int(place * len(whole)) if place == 0.5 else int(place)
    broken = bytearray(whole)
    broken[at] ^= 1
    path.write_bytes(broken)
    assert not cache.intact(key)
    cache.fill(pictures, network)
    assert path.read_bytes() == whole


def test_full_disk_is_one_clear_error_and_leaves_the_rest(
    network: SamNetwork, pictures: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import samparser_monai.features as features
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
    assert len(entries) == 2 and all(cache.intact(path.stem) for path in entries)
