"""The network: SAM's own numbers, whichever way they are computed."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from closeness import assert_near
from monai.transforms import Compose
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Attention
from timm.models.tiny_vit import ConvNorm

from samparser_monai.errors import InputError
from samparser_monai.methods import coefficients, count_trainable, decoder_only, parameter_groups
from samparser_monai.metrics.organs import OrganDice
from samparser_monai.sam import BACKBONES, architecture, build
from samparser_monai.sam.decoding import two_way
from samparser_monai.sam.fused import fuse
from samparser_monai.spectrum import coefficients_of, decompose
from samparser_monai.training import collate
from samparser_monai.training.transforms import IntoFramed
from samparser_monai.volumes import SliceDataset, abdomen_ct_items
from samparser_monai.volumes.demonstration import fetch_demonstration
from samparser_monai.volumes.transforms import Instancesd, LoadSliced, OrganMasksd, Windowd


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


BOXES = [torch.tensor([[5.0, 9, 60, 70]]), torch.tensor([[0.0, 0, 127, 90], [30, 40, 50, 80]])]


def test_equals_stock_sam_image_by_image(picture: torch.Tensor) -> None:
    network = build("tiny")
    stock = Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder)
    both = network(picture, BOXES)
    assert both.shape == (3, 1, 32, 32)
    with torch.no_grad():
        embeddings = stock.image_encoder(picture)
        wanted = []
        for embedding, boxes in zip(embeddings, BOXES, strict=True):
            sparse, dense = stock.prompt_encoder(points=None, boxes=boxes, masks=None)
            wanted.append(
                stock.mask_decoder(
                    image_embeddings=embedding[None],
                    image_pe=stock.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )[0]
            )
    # several images in one pass change the order of sums, nothing else
    assert_near(both, torch.cat(wanted))


def test_points_and_mask_prompts_equal_stock_sam(picture: torch.Tensor) -> None:
    network = build("tiny")
    points = [
        torch.tensor([[[5.0, 9, 1], [60, 70, 0]]]),
        torch.tensor([[[20.0, 30, 1], [0, 0, -1]]]),
    ]
    masks = [*torch.randn(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        embeddings = network.embed(network.features(picture))
        found, iou = network.decode(embeddings, points=points, masks=masks)
        wanted = []
        for n, (clicks, mask) in enumerate(zip(points, masks, strict=True)):
            sparse, dense = network.prompt_encoder((clicks[..., :2], clicks[..., 2]), None, mask)
            wanted.append(
                network.mask_decoder(
                    image_embeddings=embeddings[n : n + 1],
                    image_pe=network.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
            )
    for ours, theirs in zip((found, iou), zip(*wanted, strict=True), strict=True):
        assert_near(ours, torch.cat(theirs))


def test_a_click_asks_in_the_place_of_a_box(picture: torch.Tensor) -> None:
    network = build("tiny")
    boxes = [torch.tensor([[3.0, 4, 20, 30], [1, 2, 9, 9]]), torch.tensor([[60.0, 60, 90, 90]])]
    clicks = [torch.tensor([[0.0, 0, -1], [5, 9, 1]]), torch.tensor([[70.0, 70, 1]])]
    with torch.no_grad():
        embeddings = network.embed(network.features(picture))
        mixed = network.decode(embeddings, boxes, clicks=clicks)
        boxed = network.decode(embeddings, boxes)
        pointed = network.decode(embeddings, points=[asked[:, None] for asked in clicks])
    for found, by_box, by_point in zip(mixed, boxed, pointed, strict=True):
        assert_near(found[:1], by_box[:1])
        assert_near(found[1:], by_point[1:])


def test_without_boxes_each_image_is_its_own_box(picture: torch.Tensor) -> None:
    network = build("tiny")
    whole = [torch.tensor([[0.0, 0, 128, 128]])] * 2
    assert_near(network(picture), network(picture, whole), share=0)


@pytest.mark.parametrize("step", ["relative", "absolute", "log"])
def test_coefficients_start_as_published(step: str, picture: torch.Tensor) -> None:
    published = build("tiny")(picture, BOXES)
    tuned = coefficients(build("tiny"), step=step)(picture, BOXES)
    # W = U diag(p) Vh is rebuilt in float32: some roundings of 6e-8 each
    assert_near(tuned, published)


def test_vit_b_trains_exactly_512_and_the_decoder() -> None:
    network = coefficients(architecture("vit_b"))
    assert count_trainable(network) == {"encoder": 512, "decoder": 4_058_340}
    assert sum(p.numel() for p in network.prompt_encoder.parameters()) == 6_220
    assert not any(p.requires_grad for p in network.prompt_encoder.parameters())
    network.mask_decoder.requires_grad_(False)
    assert count_trainable(network) == {"encoder": 512, "decoder": 0}


@pytest.mark.parametrize("shape", [(8, 16, 1, 1), (8, 8, 3, 3)])
def test_svd_round_trip(shape: tuple[int, ...]) -> None:
    conv = torch.nn.Conv2d(shape[1], shape[0], shape[2], bias=False)
    weight = conv.weight.detach().clone()
    decompose(conv)
    assert_near(conv.weight, weight, share=1e-5)  # products of float32
    values = torch.linalg.svdvals(weight.double().flatten(1)).float()
    assert_near(coefficients_of(conv), values, share=1e-6)  # float64, rounded
    with pytest.raises(ValueError, match="decomposed before"):
        decompose(conv)


def test_relative_step_moves_each_coefficient_by_a_like_fraction(picture: torch.Tensor) -> None:
    network = coefficients(build("tiny"), decoder="frozen")
    optimizer = torch.optim.Adam(parameter_groups(network, 0.03, 1e-5))
    conv = network.image_encoder.neck[0]
    before = coefficients_of(conv).detach().clone()
    network(picture, BOXES).sum().backward()
    optimizer.step()
    moved = (coefficients_of(conv).detach() / before - 1).abs()
    # Adam adds its epsilon to the gradient
    assert_near(moved, torch.full_like(moved, 0.03), share=1e-3)


@pytest.mark.parametrize("method", [coefficients, decoder_only])
def test_halves_of_the_encoder_make_the_whole(method: object, picture: torch.Tensor) -> None:
    network = method(build("tiny"))
    whole = network.image_encoder(picture)
    halves = network.embed(network.features(picture))
    assert_near(halves, whole)


def test_training_mode_leaves_batch_statistics_alone() -> None:
    network = architecture("mobile_sam").train()
    assert network.mask_decoder.training and not network.image_encoder.training
    norm = network.image_encoder.patch_embed.conv1.bn
    before = norm.running_mean.clone()
    network.image_encoder.patch_embed(torch.randn(1, 3, 64, 64))
    assert_near(norm.running_mean, before, share=0)


def test_method_is_applied_once() -> None:
    network = coefficients(build("tiny"))
    with pytest.raises(InputError, match="applied to this network before"):
        decoder_only(network)


def test_backbones_agree_with_their_sizes() -> None:
    for backbone in BACKBONES.values():
        assert backbone.mask_size * backbone.patch == 4 * backbone.image_size


@pytest.mark.download
@pytest.mark.parametrize("name", ["mobile_sam", "lite_medsam"])
def test_published_weights_find_the_liver(name: str, tmp_path: Path) -> None:
    organs, backbone = {"liver": 1}, BACKBONES[name]
    side = backbone.image_size
    pictures = Compose(
        [
            LoadSliced(organs),
            Windowd("image", (-160, 240)),
            Instancesd(),
            IntoFramed(side, backbone.mask_size, backbone.mean, backbone.std),
        ]
    )
    items = abdomen_ct_items(fetch_demonstration())["validation"]
    batch = collate([SliceDataset(items, pictures, labels=organs, cache_dir=tmp_path)[8]])
    with torch.no_grad():
        batch["pred"] = build(name)(batch["image"], batch["boxes"])
    dice = OrganDice()
    dice.update(OrganMasksd("pred", side, organs)(batch)["judged"])
    assert dice.compute() > 94


def test_prompts_with_and_without_masks_share_a_pass() -> None:
    network = build("tiny")
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 32, 8, 8, generator=generator)
    boxes = [torch.tensor([[10.0, 20, 60, 70]]).repeat(n, 1) for n in (3, 1)]
    masks = [[torch.randn(1, 32, 32, generator=generator), None, None], [None]]
    masks[0][2] = -masks[0][0]
    with torch.no_grad():
        found = network.decode(embeddings, boxes, masks=masks)
        alone = [
            network.decode(embeddings[n : n + 1], [box[None]], masks=None if m is None else [[m]])
            for n in range(2)
            for box, m in zip(boxes[n], masks[n], strict=True)
        ]
    for together, one_by_one in zip(found, zip(*alone, strict=True), strict=True):
        assert_near(together, torch.cat(one_by_one))
        assert not torch.equal(together[0], together[2])


def test_names_and_shapes_are_stock_sams() -> None:
    with torch.device("meta"):
        stock, ours = sam_model_registry["vit_b"](), architecture("vit_b")
    shapes = [{n: t.shape for n, t in network.state_dict().items()} for network in (stock, ours)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size", [(14, 14), (64, 64), (5, 3)])
@pytest.mark.parametrize("width", [16, 24])
def test_fused_attention_is_sams(size: tuple[int, int], width: int) -> None:
    stock = Attention(width, num_heads=2, use_rel_pos=True, input_size=size).double()
    x = torch.randn(2, *size, width, dtype=torch.float64, requires_grad=True)
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    fused = copy.deepcopy(stock)
    fuse(fused)
    results = []
    for attention in (stock, fused):
        found = attention(x)
        results.append(
            [found, *torch.autograd.grad(found.sin().sum(), [x, *attention.parameters()])]
        )
    for one, other in zip(*results, strict=True):
        assert_near(one, other, share=1e-10)  # float64, of which a gradient loses a few digits


def test_fused_norm_is_sams() -> None:
    stock = LayerNorm2d(6).double()
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64, requires_grad=True)
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter)
    fused = torch.nn.Sequential(copy.deepcopy(stock))
    fuse(fused)
    assert type(fused[0]) is not LayerNorm2d
    for one, other in zip(
        *(
            [norm(x), *torch.autograd.grad(norm(x).sin().sum(), [x, *norm.parameters()])]
            for norm in (stock, fused)
        ),
        strict=True,
    ):
        assert_near(one, other, share=1e-10)  # float64, of which a gradient loses a few digits


@pytest.mark.parametrize("heads", [1, 8])  # tokens are few, or more than what is projected to
@pytest.mark.parametrize("which", [[0, 1], [0, 0, 0, 1, 1]])
def test_decoders_attention_is_sams(heads: int, which: list[int]) -> None:
    stock = TwoWayTransformer(2, 32, heads, 16).double()
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    pictures, position, prompts = draw(2, 12, 32), draw(1, 12, 32), draw(len(which), 7, 32)
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    inputs = [pictures.requires_grad_(), prompts.requires_grad_(), *stock.parameters()]
    results = []
    for found in (
        two_way(stock, pictures, which, position, prompts),
        stock(*(t.mT.unflatten(2, (3, 4)) for t in (pictures[which], position)), prompts),
    ):
        loss = sum(part.sin().sum() for part in found)
        numbers = [*found, *torch.autograd.grad(loss, inputs)]
        results.append(torch.cat([part.flatten() for part in numbers]))  # some are nothing
    assert_near(*results, share=1e-10)


def test_folded_norm_is_tinyvits() -> None:
    stock = torch.nn.Sequential(ConvNorm(4, 6, 3, 2, 1, groups=2)).double().eval()
    for tensor in stock.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    folded, x = copy.deepcopy(stock), torch.randn(2, 4, 7, 5, dtype=torch.float64)
    fuse(folded)
    assert type(folded[0]) is not ConvNorm
    assert_near(folded(x), stock(x), share=1e-10)
