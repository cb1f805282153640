"""What MONAI's bundle tools ask of the configs and the metadata."""

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, read_json
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out

import samparser_monai

CONFIGS = ROOT / "configs"
SCHEMA = Path(os.environ.get("MONAI_META_SCHEMA", ROOT / "eval" / "schema.json"))


@pytest.mark.skipif(not SCHEMA.exists(), reason="name MONAI's schema file by MONAI_META_SCHEMA")
def test_metadata_follows_the_schema(tmp_path: Path) -> None:
    copy = tmp_path / "schema.json"
    copy.write_bytes(SCHEMA.read_bytes())
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(copy))
    without = read_json(CONFIGS / "metadata.json")
    del without["network_data_format"]
    (tmp_path / "without.json").write_text(json.dumps(without))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tmp_path / "without.json"), filepath=str(copy))


@pytest.mark.parametrize("channels", [1, 2])
def test_tiny_network_has_the_declared_output(channels: int, tmp_path: Path) -> None:
    metadata = read_json(CONFIGS / "metadata.json")
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = channels
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [128, 128]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    declared_otherwise = pytest.raises(ValueError, match="output channel number")
    with nullcontext() if channels == 1 else declared_otherwise:
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(tmp_path / "metadata.json"),
            config_file=str(CONFIGS / "inference.json"),
            device="cpu",
            backbone="tiny",
        )


@pytest.mark.download
def test_published_network_has_the_declared_output() -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        device="cpu",
    )


def test_version_is_one() -> None:
    metadata = read_json(CONFIGS / "metadata.json")
    assert metadata["version"] == samparser_monai.__version__
    assert metadata["version"] in metadata["changelog"]
    assert f"\n## {metadata['version']}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == metadata["version"]


def test_declared_versions_are_the_pinned_ones() -> None:
    pins = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().split())
    metadata = read_json(CONFIGS / "metadata.json")
    for name in ("monai", "pytorch", "numpy"):
        package = {"pytorch": "torch"}.get(name, name)
        assert metadata[f"{name}_version"] == pins[package]
    for package, version in metadata["required_packages_version"].items():
        assert pins[package.lower()] == version


def test_constraints_name_no_address() -> None:
    assert not re.search(r"://|--", (ROOT / "constraints.txt").read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.json")), ids=lambda p: p.stem)
def test_config_is_formatted_and_an_overlay_replaces_known_slots(path: Path) -> None:
    content = read_json(path)
    assert path.read_text(encoding="utf-8") == json.dumps(content, indent=4) + "\n"
    if path.parent != CONFIGS:
        known = ConfigParser()
        known.read_config(str(CONFIGS / "train.json"))
        slots = {key for key, value in content.items() if isinstance(value, dict)}
        for key in slots:
            assert key in known
        for key in content.keys() - slots - known.config.keys():  # an option of its own
            assert f'"@{key}"' in path.read_text(encoding="utf-8")


APART = {
    *("apart", "dataset", "dataset_dir", "defaults", "device", "imports", "manifest"),
    *("output_dir", "run"),
}
"""What trainings and the two inferences have under one name, each its own."""
OF_INFERENCE = {"evaluator", "handlers", "inferer", "postprocessing", "preprocessing", "as_said"}


def test_what_configurations_share_is_one() -> None:
    """Each is one file, to work from any folder and bundle: so what they share is held equal."""
    train, volumes, pictures = (
        read_json(CONFIGS / f"{n}.json") for n in ("train", "inference", "inference_pictures")
    )
    for one, other, own in (
        (train, volumes, APART | {"labels", "engined_def"}),
        (train, pictures, APART | {"engined_def"}),
        (volumes, pictures, APART - {"apart", "device", "imports"} | OF_INFERENCE),
    ):
        shared = one.keys() & other.keys()
        assert {key for key in shared if one[key] != other[key]} <= own
        defaults = one["defaults"].keys() & other["defaults"].keys()
        assert {*defaults} >= {"backbone", "space", "decoder", "step"}
        assert all(one["defaults"][key] == other["defaults"][key] for key in defaults)


def test_no_target_is_a_file() -> None:
    """From Python 3.12 on MONAI finds the file where a function of its name lies in one."""
    text = "".join(path.read_text("utf-8") for path in CONFIGS.rglob("*.json"))
    targets = set(re.findall(r'"_target_": "(samparser_monai[^"]+)"', text))
    assert "samparser_monai.methods.named.lora" in targets
    files = {t for t in targets if (ROOT / f"{t.replace('.', '/')}.py").exists()}
    assert not files
