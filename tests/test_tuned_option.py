"""``--tuned``: a tuned part is enough for whatever asks a network."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import ROOT, move, read_json, run
from monai.bundle import ConfigParser

from samparser_monai import bundling, methods
from samparser_monai.errors import InputError, root_cause
from samparser_monai.sam import SamNetwork, build
from samparser_monai.tuned.loading import ModelLoader
from samparser_monai.tuned.part import load_tuned, read_tuned, save_tuned, write_tuned

ASKING = [["inference"], ["inference_pictures"], ["inference", "evaluate_volumes"]]
ASKING += [["train", "evaluate"], ["train", "scenarios/coco", "evaluate"]]
ABOUT = {"scenario": "abdomen_ct", "labels": {"liver": 6}, "window": [-100, 100]}
METHODS = {
    "frozen": lambda sam: methods.coefficients(sam, decoder="frozen", step="absolute"),
    "lora": lambda sam: methods.lora(sam, rank=2, decoder="coefficients"),
}


def trained(folder: Path, method: str = "frozen", **about: object) -> tuple[Path, SamNetwork]:
    """Return the tuned part of a network that was moved, and the network."""
    network = METHODS[method](build("tiny"))
    move(network)
    path = folder / "tuned.safetensors"
    save_tuned(path, network, {**ABOUT, **about}, network.state_dict())
    torch.save(network.state_dict(), folder / "model.pt")
    return path, network.eval()


def parsed(files: list[str], **keys: object) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / f"{name}.json") for name in files])
    if "scenarios/coco" in files:
        keys = {"labels": ["ship"], **keys}  # else they are those of its files
    parser.update({"device": "cpu", **keys})
    return parser


@contextmanager
def refused(pattern: str) -> Iterator[None]:
    """Expect an InputError, with whatever MONAI has put around it."""
    with pytest.raises((InputError, RuntimeError)) as caught:
        yield
    assert re.search(pattern, str(root_cause(caught.value)))


@torch.no_grad()
def logits(network: SamNetwork) -> torch.Tensor:
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    return network.eval()(image, [torch.tensor([[10.0, 20, 90, 100]])])


@pytest.mark.parametrize("files", ASKING, ids="+".join)
@pytest.mark.parametrize("method", METHODS)
def test_a_tuned_part_gives_the_logits_of_the_whole_model(
    method: str, files: list[str], tmp_path: Path
) -> None:
    path, network = trained(tmp_path, method)
    parser = parsed(files, tuned=str(path), ckpt_dir="not there")
    place = "validate#handlers#0" if "train" in files else "handlers#0"
    parser.get_parsed_content(place).load()
    assert torch.equal(logits(parser.get_parsed_content("network")), logits(network))
    if files == ["inference"]:
        assert parser.get_parsed_content("labels") == ABOUT["labels"]
        assert parser.get_parsed_content("window") == ABOUT["window"]


@pytest.mark.parametrize("files", ASKING, ids="+".join)
def test_two_models_are_refused(files: list[str], tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    place = "validate#handlers#0" if "train" in files else "handlers#0"
    with refused("model_file='a.pt' and tuned='.*' are two models"):
        parsed(files, tuned=str(path), model_file="a.pt").get_parsed_content(place)


@pytest.mark.parametrize("files", ASKING, ids="+".join)
def test_published_is_sam_as_it_came(files: list[str]) -> None:
    parser = parsed(files, tuned="published", backbone="tiny", ckpt_dir="not there")
    if handler := parser.get_parsed_content(
        "validate#handlers#0" if "train" in files else "handlers#0"
    ):
        handler.load()
    network = parser.get_parsed_content("network")
    assert torch.equal(logits(network), logits(methods.zero_shot(build("tiny"))))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("backbone", "vit_h", "'tiny'"),
        ("decoder", "tuned", "'frozen'"),
        ("step", "relative", "'absolute'"),
        ("space", "both", "'neck'"),
        ("labels", {"liver": 1}, "{'liver': 6}"),
        ("window", [-160.0, 240.0], "[-100, 100]"),
    ],
)
def test_what_is_typed_and_contradicts_is_refused_with_both_values(
    key: str, value: object, says: str, tmp_path: Path
) -> None:
    path, _ = trained(tmp_path)
    keys = {"tuned": str(path), "bundle_root": str(tmp_path), key: value}
    with refused(rf"{re.escape(f'{key}={value!r} contradicts')}.* {re.escape(says)}"):
        run("infer", "inference", run_id="inference", **keys)
    same = {"backbone": "tiny", "labels": {"liver": 6}, "window": [-100.0, 100.0]}
    parsed(["inference"], tuned=str(path), **same).get_parsed_content("as_said")


def test_a_part_of_pictures_is_not_asked_about_volumes(tmp_path: Path) -> None:
    path, _ = trained(tmp_path, window=None)
    with refused("made without window.*inference_pictures"):
        parsed(["inference"], tuned=str(path)).get_parsed_content("as_said")


def test_a_part_of_volumes_is_not_asked_about_pictures(tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    with refused(r"made with window=\[-100, 100\].*of volumes, for inference\?"):
        parsed(["inference_pictures"], tuned=str(path)).get_parsed_content("as_said")
    path, _ = trained(tmp_path, window=None)
    parsed(["inference_pictures"], tuned=str(path)).get_parsed_content("as_said")


def test_what_a_part_says_nothing_of_is_asked_for_and_not_compared(tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    tensors, about = read_tuned(path)
    for key in ("labels", "window"):
        write_tuned(path, tensors, {k: v for k, v in about.items() if k != key})
        keys = {"tuned": str(path), "bundle_root": str(tmp_path)}
        with refused(f"says nothing of {key}: give --{key}"):
            run("infer", "inference", run_id="inference", **keys)
        given = {"labels": {"liver": 3}, "window": [-50.0, 50.0]}[key]
        parser = parsed(["inference"], tuned=str(path), **{key: given})
        parser.get_parsed_content("as_said")
        assert parser.get_parsed_content(key) == given
    parser = parsed(["train", "evaluate"], tuned=str(path), window=[-50.0, 50.0])
    parser.get_parsed_content("before_evaluating#0")


def test_a_part_of_another_step_or_size_is_refused(tmp_path: Path) -> None:
    path, _ = trained(tmp_path)
    with refused("'relative'.*made with.*'absolute'"):
        load_tuned(path, methods.coefficients(build("tiny"), decoder="frozen"))
    tensors, about = read_tuned(path)
    write_tuned(path, tensors, {**about, "image_size": 512})
    with refused("of tiny for images of 512 pixels, here they have 128"):
        parsed(["inference"], tuned=str(path)).get_parsed_content("network")


def test_evaluating_needs_the_part_alone(dataset: Path, tmp_path: Path, overrides: dict) -> None:
    given = {**overrides, "dataset_dir": str(dataset), "pictures": 0, "box_shifts": []}
    labels, asked = {"liver": 1}, {"decoder": "frozen", "step": "absolute"}
    run("train", "train", run_id="training", **given, **asked, labels=labels)
    files = ("train", "train", "evaluate")
    path = tmp_path / "models" / "tuned.safetensors"
    del given["backbone"]
    found = []
    for keys in ({**asked, "labels": labels, "backbone": "tiny"}, {"tuned": str(path)}):
        run(*files, run_id="evaluating", **given, **keys)
        found.append(read_json(tmp_path / "eval" / "metrics.json"))
    assert found[0] == found[1] and {row["organ"] for row in found[0]} == {"liver"}


def test_bundle_is_set_to_what_a_part_says(tmp_path: Path) -> None:
    path, network = trained(tmp_path, "lora")
    bundle = bundling.assemble(tmp_path / "out", None, None, str(path))
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    assert parser.get_parsed_content("labels") == ABOUT["labels"]
    loader = ModelLoader(bundle / "models" / "model.pt", parser.get_parsed_content("network_def"))
    loader.load()
    assert torch.equal(logits(loader.network), logits(network))
    with refused("backbone='vit_b' contradicts"):
        bundling.assemble(tmp_path / "other", "vit_b", None, str(path))
    assert (
        json.loads((bundle / "configs" / "train.json").read_text())["defaults"]["options"]["rank"]
        == 2
    )
