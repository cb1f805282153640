"""The bundle that ships: the same bytes twice, complete, and alive away from the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, read_json
from monai.bundle import create_workflow, load

from samparser_monai import bundling as script
from samparser_monai.errors import InputError
from samparser_monai.fetch import sha256_of
from samparser_monai.sam import build
from samparser_monai.sam.checkpoints import WEIGHTS


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as somebody gets it, with the small backbone of the tests."""
    archives = [
        script.pack(script.assemble(tmp_path_factory.mktemp("out"), "tiny", None)) for _ in range(2)
    ]
    assert sha256_of(archives[0]) == sha256_of(archives[1])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(archives[0]) as file:
        file.extractall(elsewhere)
    return elsewhere / script.NAME


def test_bundle_has_what_the_model_zoo_asks_for(unzipped: Path) -> None:
    for name in ("LICENSE", "docs/README.md", "docs/data_license.txt", "models/model.pt"):
        assert (unzipped / name).stat().st_size > 100
    for name in ("metadata", "train", "inference", "evaluate", "multi_gpu_train"):
        assert read_json(unzipped / "configs" / f"{name}.json")
    assert (unzipped / "configs" / "logging.conf").exists()
    assert not list(unzipped.rglob("__pycache__"))
    readme = (ROOT / "bundle" / "docs" / "README.md").read_text()
    assert "monai.bundle run training" in readme


def test_base_weights_are_listed_with_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pt").write_bytes(b"weights")
    monkeypatch.setattr(script, "fetch", lambda source: tmp_path / "weights.pt")
    (tmp_path / "models").mkdir()
    script.add_weights(tmp_path, "mobile_sam")
    (entry,) = yaml.safe_load((tmp_path / "large_files.yml").read_text())["large_files"]
    assert entry["path"] == "models/mobile_sam.pt"
    assert (entry["hash_val"], entry["hash_type"]) == (WEIGHTS["mobile_sam"].sha256, "sha256")
    assert entry["url"].startswith("https")
    assert (tmp_path / entry["path"]).read_bytes() == b"weights"


def test_bundle_loads_as_monai_does(unzipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(unzipped.parent)
    network = load(unzipped.name, bundle_dir=".", workflow_type="inference")
    state = torch.load(unzipped / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    flow = create_workflow(
        config_file=str(unzipped / "configs" / "inference.json"), workflow_type="inference"
    )
    assert flow.network_def.base_sha256 == build("tiny").base_sha256


def test_shipped_unit_test_passes_elsewhere(unzipped: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    test = unzipped / "unit_tests" / "test_samparser_ct_abdomen_segmentation.py"
    done = subprocess.run(
        [sys.executable, str(test)],
        cwd=tmp_path,
        env={**environment, "BUNDLE_ROOT": str(unzipped)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_model_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="does not fit this network"):
        script.assemble(tmp_path, "tiny", tmp_path / "other.pt")


def test_only_what_was_packed_is_made_again(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    script.check_unchanged(bundle)
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "model.pt").write_text("packed")
    with pytest.raises(InputError, match="is not as it was packed"):
        script.check_unchanged(bundle)
    script.pack(bundle)
    script.check_unchanged(bundle)
    (bundle / "models" / "model.pt").write_text("trained here")
    with pytest.raises(InputError, match=r"see bundle/models/model.pt: move it away"):
        script.check_unchanged(bundle)
