"""The bundle that ships, as a folder and as a zip: the same bytes for the same content.

A trained model is a training's ``model.pt``, or its ``tuned.safetensors``: the bundle is then set
to what that says, its backbone, method, labels and window. Without either it carries SAM as
published, which every method is before training. A bundle that is there is made again, unless
anything in it was changed since it was packed.
"""

import json
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser

from samparser_monai.errors import InputError
from samparser_monai.fetch import fetch
from samparser_monai.files import read_json
from samparser_monai.sam.checkpoints import WEIGHTS
from samparser_monai.shipped import PACKAGE, shipped
from samparser_monai.tuned.loading import PUBLISHED, ModelLoader, check_said, said

NAME = "samparser_ct_abdomen_segmentation"
COPIED = {  # what ships -> in the bundle
    "configs": "configs",
    "bundle/docs": "docs",
    "bundle/unit_tests": "unit_tests",
    "bundle/monailabel": "label_app",
    "bundle/deploy": "deploy_app",
}
URLS = {  # of weights that their Source takes from the package index
    "mobile_sam": "https://github.com/ChaoningZhang/MobileSAM/raw/"
    "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
}
LEFT_OUT = shutil.ignore_patterns("__pycache__", "bin", "logs", "model", "bench*")


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return what a wheel has in the package, which a bundle has beside it; see shipped."""
    beside = {"configs", "bundle", "LICENSE"} if Path(folder) == PACKAGE else set()
    return {*names} & {"__pycache__", *beside}


def assemble(
    output: Path, backbone: str | None, model: Path | None, tuned: str | None = None
) -> Path:
    """Write the bundle's folder below ``output`` and return it.

    Raises:
        InputError: weights that cannot be had, or a model that does not fit the configuration; a
            bundle that is there has changed since.
    """
    bundle = output / NAME
    check_unchanged(bundle)
    for name, given in (("model", model), ("tuned", tuned)):
        if given and Path(given).resolve().is_relative_to(bundle.resolve()):
            raise InputError(
                f"--{name} {given} lies in {bundle}, which is made again: copy it elsewhere"
            )
    tuned = None if tuned == PUBLISHED else tuned
    defaults = said(tuned, **defaults_of(shipped("configs")))
    check_said(defaults, backbone=backbone or defaults["backbone"])
    defaults["backbone"] = backbone or defaults["backbone"]
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    shutil.copy(shipped("LICENSE"), bundle)
    for source, target in COPIED.items():
        first, _, rest = source.partition("/")
        shutil.copytree(shipped(first) / rest, bundle / target, ignore=LEFT_OUT)
    shutil.copytree(PACKAGE, bundle / PACKAGE.name, ignore=_left_out)
    (bundle / "models").mkdir()
    set_defaults(bundle, defaults)
    add_weights(bundle, defaults["backbone"])
    add_model(bundle, model, tuned)
    return bundle


def check_unchanged(bundle: Path) -> None:
    """Raise an InputError if a folder is there that is not what its zip holds."""
    if not bundle.exists():
        return
    packed = {}
    if (archive := bundle.with_suffix(".zip")).exists():
        with zipfile.ZipFile(archive) as file:
            packed = {entry.filename: entry.CRC for entry in file.infolist()}
    for path in bundle.rglob("*"):
        name = str(path.relative_to(bundle.parent))
        if path.is_file() and "__pycache__" not in path.parts:
            if packed.get(name) != zlib.crc32(path.read_bytes()):
                raise InputError(
                    f"{bundle} is not as it was packed, see {name}: move it away, or give another "
                    "--output"
                )


def defaults_of(folder: Path) -> dict[str, Any]:
    """Return what the keys of trainings are where nobody types them, by a folder of configs."""
    found: dict[str, Any] = read_json(folder / "train.json")["defaults"]
    return found


def set_defaults(bundle: Path, defaults: Mapping[str, Any]) -> None:
    """Write them into the bundle's configurations: method and options, where a part names them."""
    for name in ("train", "inference", "inference_pictures"):
        file = bundle / "configs" / f"{name}.json"
        config = read_json(file)
        known = {*config["defaults"], "method", "options"}
        config["defaults"] |= {key: value for key, value in defaults.items() if key in known}
        file.write_text(json.dumps(config, indent=4) + "\n")


def add_weights(bundle: Path, backbone: str) -> None:
    """Put the published weights where the bundle's code finds them, and say their source."""
    if source := WEIGHTS.get(backbone):
        shutil.copy(fetch(source), bundle / "models" / source.name)
        if url := source.url or URLS.get(backbone):
            entry = {"path": f"models/{source.name}", "url": url, "hash_val": source.sha256}
            large = {"large_files": [{**entry, "hash_type": "sha256"}]}
            (bundle / "large_files.yml").write_text(yaml.safe_dump(large, sort_keys=False))


def add_model(bundle: Path, model: Path | None, tuned: str | None = None) -> None:
    """Put a model into the bundle, checked: a trained one, or SAM as published."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    if model is not None or tuned is not None:
        ModelLoader(model or "", network, tuned).load()
    if tuned is not None:
        shutil.copy(tuned, bundle / "models" / "tuned.safetensors")
    torch.save(network.state_dict(), bundle / "models" / "model.pt")


def pack(bundle: Path) -> Path:
    """Write the folder as a zip beside it: sorted, without times, stored as it is."""
    archive = bundle.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(bundle.parent)))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, path.read_bytes())
    return archive
