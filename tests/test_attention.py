"""The rows of q, k and v in both attention layers, and the methods on TinyViT."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from closeness import assert_near
from torch import Tensor, nn

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.methods.attention import attentions, qkv_rows
from samparser_monai.sam import SamNetwork, architecture, build

exactly = partial(assert_near, share=0)


@pytest.fixture
def mobile_sam() -> Iterator[SamNetwork]:
    yield architecture("mobile_sam")


@pytest.fixture(scope="module")
def image() -> Tensor:
    # small: TinyViT takes any size, the decoder is not asked
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "shape"), [("tiny", (1, 14, 14, 32)), ("mobile_sam", (1, 49, 128))]
)
def test_qkv_rows(backbone: str, shape: tuple[int, ...]) -> None:
    attention = attentions(architecture(backbone).double().image_encoder)[0]
    attention.qkv.weight *= 20  # so that the softmax is far from uniform
    q, k, v = qkv_rows(attention)
    assert sorted(torch.cat([q, k, v]).tolist()) == list(range(len(attention.qkv.weight)))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator).double()
    change = torch.randn(len(q), generator=generator).double()
    start = attention(x)

    def changed(rows: Tensor) -> Tensor:
        bias = attention.qkv.bias.clone()
        attention.qkv.bias[rows] += change
        output = attention(x)
        attention.qkv.bias.copy_(bias)
        return output

    # The same vector added to every key adds the same to all scores of a query: the softmax stays.
    # Added to every value, it comes out as it is, before the projection.
    # In float64, of whose sixteen digits the sums lose a few.
    assert_near(changed(k), start, share=1e-10)
    assert_near(changed(v), start + attention.proj.weight @ change, share=1e-10)
    assert (changed(q) - start).abs().max() > 1e-3 * start.abs().max()


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (partial(methods.lora, rank=2), (2.0, 0.0, 2.0)),  # B A of ones: the rank
        (partial(methods.lora, rank=2, alpha=6.0), (6.0, 0.0, 6.0)),
        (partial(methods.fact, rank=2), (4.0, 4.0, 4.0)),  # V S U^T of ones: the rank, squared
        (partial(methods.fact, rank=2, scale=0.5), (2.0, 2.0, 2.0)),
    ],
    ids=["lora", "lora alpha", "fact", "fact scale"],
)
def test_updates_of_q_k_and_v(
    mobile_sam: SamNetwork, method: Any, expected: tuple[float, ...]
) -> None:
    for attention in attentions(method(mobile_sam).image_encoder):
        weight = attention.qkv.parametrizations.weight
        weight.original.zero_()
        for parameter in weight[0].parameters():
            parameter.fill_(1.0)
        for rows, update in zip(qkv_rows(attention), expected, strict=True):
            assert (attention.qkv.weight[rows] == update).all()


@torch.no_grad()
@pytest.mark.parametrize(
    "method",
    [
        partial(methods.coefficients, space="both"),
        methods.lora,
        methods.fact,
        methods.adapter,
        methods.full,
    ],
    ids=["coefficients@both", "lora", "fact", "adapter", "full"],
)
def test_identity_on_tiny_vit(mobile_sam: SamNetwork, image: Tensor, method: Any) -> None:
    published = mobile_sam.image_encoder(image)
    method(mobile_sam)
    assert_near(mobile_sam.image_encoder(image), published)  # U diag(p) Vh, in float32


def test_full_tuning_leaves_batch_statistics(mobile_sam: SamNetwork, image: Tensor) -> None:
    network = methods.full(mobile_sam).train()
    encoder = network.image_encoder
    statistics = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    assert any("running_mean" in name for name in statistics)
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    optimizer = torch.optim.Adam(methods.parameter_groups(network, 0.03, 1e-3))
    target = torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(4))
    for _ in range(2):  # the second pass sees the attention biases as the first step left them
        optimizer.zero_grad()
        (encoder(image) * target).sum().backward()
        optimizer.step()
    assert not any(module.training for module in encoder.modules())
    for name, buffer in encoder.named_buffers():
        exactly(buffer, statistics[name])
    still = {name for name, p in encoder.named_parameters() if torch.equal(p, before[name])}
    assert not still
    output = encoder(image)
    encoder.eval()  # which empties what timm keeps
    exactly(encoder(image), output)


def test_shared_by_width(mobile_sam: SamNetwork) -> None:
    layers = attentions(methods.fact(mobile_sam).image_encoder)
    found = {(x.qkv.in_features, x.qkv.parametrizations.weight[0].factors) for x in layers}
    assert sorted(width for width, _ in found) == [128, 160, 320]


@pytest.mark.parametrize("method", [methods.lora, methods.fact, methods.adapter])
def test_no_attention(method: Any) -> None:
    network = build("tiny")
    network.image_encoder.blocks = nn.ModuleList()
    with pytest.raises(InputError, match="no attention layer"):
        method(network)
