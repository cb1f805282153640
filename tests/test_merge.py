"""Merged, a tuned part is a file that stock SAM loads; unmerged, it is the same coefficients."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from conftest import move
from segment_anything import sam_model_registry
from segment_anything.build_sam import _build_sam

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.sam import BACKBONES, Backbone, SamNetwork, architecture, build
from samparser_monai.sam.backbones import _vit
from samparser_monai.sam.tiny_vit import TinyViTEncoder
from samparser_monai.spectrum import coefficients_of
from samparser_monai.tuned.merge import merge, merged_weights, write_weights
from samparser_monai.tuned.unmerge import unmerge

BOXES = torch.tensor([[100.0, 120, 600, 700], [0, 0, 1023, 500]])


@torch.no_grad()
def published(backbone: str, path: Path) -> SamNetwork:
    """Write a seeded network as its published file would be, and build it from there."""
    network = architecture(backbone)
    for layer in network.mask_decoder.output_hypernetworks_mlps[0].layers:
        layer.weight *= 5  # logits of the size of a trained network's
    torch.save(network.state_dict(), path)
    return build(backbone, path)


@torch.no_grad()
@pytest.mark.parametrize("decoder", ["frozen", "coefficients", "tuned"])
def test_stock_segment_anything_loads_it_and_gives_the_same_logits(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # stock SAM in all but its encoder's size; tests/test_sam.py compares the names of vit_b's
    small = (64, 1, 2, ())
    monkeypatch.setitem(BACKBONES, "small", Backbone(1024, lambda: _vit(*small)))
    monkeypatch.setitem(sam_model_registry, "small", partial(_build_sam, *small))
    base, file = tmp_path / "base.pth", tmp_path / "merged.pth"
    before = published("small", base)
    network = methods.coefficients(build("small", base), decoder=decoder)
    move(network)
    write_weights(file, merged_weights(merge(network), base))

    stock = sam_model_registry["small"](checkpoint=file)  # loads strictly
    picture = torch.rand(3, 1024, 1024, generator=torch.Generator().manual_seed(1)) * 255
    asked = {"image": picture, "boxes": BOXES, "original_size": (1024, 1024)}
    found = stock([asked], multimask_output=False)[0]["low_res_logits"]
    image = stock.preprocess(picture)[None]
    wanted = network(image, [BOXES])
    assert_near(found, wanted)
    # tuning has changed them
    assert (found - before(image, [BOXES])).abs().max() > 0.01 * found.abs().max()


def test_merged_tiny_vit_has_the_names_of_its_published_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, "small_tiny_vit", Backbone(128, TinyViTEncoder))
    names = (
        (r"\.stages\.([123])\.downsample\.", lambda m: f".layers.{int(m[1]) - 1}.downsample."),
        (r"\.stages\.", ".layers."),
        (r"\.patch_embed\.conv1\.", ".patch_embed.seq.0."),
        (r"\.patch_embed\.conv2\.", ".patch_embed.seq.2."),
        (r"\.conv\.", ".c."),
    )
    base, file = tmp_path / "base.pth", tmp_path / "merged.pth"
    weights = {}
    for name, tensor in architecture("small_tiny_vit").state_dict().items():
        for pattern, replacement in names:
            if name.startswith("image_encoder."):
                name = re.sub(pattern, replacement, name)
        weights[name] = tensor
    assert "image_encoder.layers.0.downsample.conv2.c.weight" in weights
    weights["image_encoder.head.weight"] = torch.ones(1000, 320)  # MobileSAM's classifier
    torch.save(weights, base)

    network = methods.coefficients(build("small_tiny_vit", base), decoder="frozen")
    move(network)
    write_weights(file, merged_weights(merge(network), base))
    merged = torch.load(file, weights_only=True)
    assert [*merged] == [*weights]
    moved = {name for name in weights if not torch.equal(weights[name], merged[name])}
    assert moved == {"image_encoder.neck.0.weight", "image_encoder.neck.2.weight"}
    image = torch.randn(1, 3, 128, 128)
    assert_near(build("small_tiny_vit", file)(image), network(image))


@pytest.mark.parametrize("space", ["neck", "transformer", "both"])
@pytest.mark.parametrize("decoder", ["frozen", "coefficients", "tuned"])
def test_unmerged_is_what_was_merged(space: str, decoder: str, tmp_path: Path) -> None:
    base, file = tmp_path / "base.pth", tmp_path / "merged.pth"
    published("tiny", base)
    network = methods.coefficients(build("tiny", base), space=space, decoder=decoder)
    move(network)
    write_weights(file, merged_weights(merge(network), base))
    found = unmerge(file, build("tiny", base))
    assert (found.method, found.options) == (network.method, network.options)
    for name, module in network.named_modules():
        if hasattr(module, "parametrizations"):
            p = coefficients_of(module)
            assert_near(coefficients_of(found.get_submodule(name)), p)
    image = torch.randn(1, 3, 128, 128)
    assert_near(found(image), network(image))


def norm(network: SamNetwork) -> SamNetwork:
    network.image_encoder.neck[1].bias.data += 1
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (methods.lora, "the bases of image_encoder.blocks.0.attn.qkv.weight cannot give"),
        (methods.bases, r"the bases of image_encoder.neck.\d.weight cannot give .* of it"),
        (norm, "image_encoder.neck.1.bias differs too; only what method 'coefficients' made"),
    ],
)
def test_unmerge_refuses_what_is_more_than_coefficients(
    change: Any, message: str, tmp_path: Path
) -> None:
    network = change(build("tiny"))
    move(network, 1e-3)
    write_weights(tmp_path / "merged.pth", merge(network).state_dict())
    with pytest.raises(InputError, match=message):
        unmerge(tmp_path / "merged.pth", build("tiny"))


def test_unmerge_refuses_another_backbone(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "merged.pth")
    with pytest.raises(InputError, match=r"merged.pth' holds tensors named 'weight', but none of"):
        unmerge(tmp_path / "merged.pth", build("tiny"))


@torch.no_grad()
@pytest.mark.download
@pytest.mark.parametrize("name", ["mobile_sam", "lite_medsam"])
def test_published_file_is_merged_under_its_own_names(name: str, tmp_path: Path) -> None:
    network = methods.coefficients(build(name))
    before = merged_weights(merge(build(name)))
    move(network)
    file = tmp_path / "merged.pth"
    write_weights(file, merged_weights(merge(network)))
    after = torch.load(file, weights_only=True)
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    side = BACKBONES[name].image_size
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    boxes = [BOXES * side / 1024]
    assert_near(build(name, file)(image, boxes), network(image, boxes))
