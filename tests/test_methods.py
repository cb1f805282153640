"""Every method is the identity at first, and tunes what it says it tunes and nothing else."""

import copy
import io
import json
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from closeness import assert_near
from conftest import move
from monai.bundle import ConfigParser
from torch import Tensor
from torch.nn.utils import parametrize

from samparser_monai import methods
from samparser_monai.errors import InputError
from samparser_monai.methods.counts import VARIANTS
from samparser_monai.methods.rates import steps
from samparser_monai.sam import BACKBONES, Backbone, SamNetwork, architecture, build
from samparser_monai.sam.tiny_vit import TinyViTEncoder
from samparser_monai.tuned.loading import ModelLoader
from samparser_monai.tuned.merge import merge

CONFIGS = Path(__file__).parents[1] / "configs"
exactly = partial(assert_near, share=0)

NECK = r"image_encoder\.neck\.[02]"
BLOCK = r"image_encoder\.(stages\.\d\.)?blocks\.\d\."
BLOCKS = BLOCK + r"(attn\.(qkv|proj)|mlp\.(lin|fc)[12])"
BOTH = f"({NECK}|{BLOCKS})"
LORA = BLOCK + r"attn\.qkv\.parametrizations\.weight\.0\.[ab]"
# shared: named_parameters gives the factors once, under the first block that has them
FACTORS = r"image_encoder\.(stages\.\d\.)?blocks\.0\.attn\.qkv\.parametrizations\.weight\.0"
FACT = BLOCK + r"attn\.qkv\.parametrizations\.weight\.0\.cores|" + FACTORS + r"\.factors\.[uv]"
ALL_NORMS = BLOCK + r"(norm[12]|attn\.norm|mlp\.norm)\.(weight|bias)"
SALT = r"\.parametrizations\.weight\.0\.[xy]"
LATE = r"image_encoder\.(stages\.3\.)?blocks\.1\.attn\.qkv\.parametrizations\.weight\.0\.[ab]"
ADAPTER = BLOCK + r"attn\.adapter\.(down|up)\.(weight|bias)"
NONE = "(?!)"


def original(which: str) -> str:
    """Return the end of the name of U (0), step (1) or Vh (2)."""
    return rf"\.parametrizations\.weight\.original[{which}]"


BLOCKS_ONLY, EVERYWHERE = {"space": "transformer"}, {"space": "both"}
ENCODERS: dict[str, tuple[str, dict[str, Any], str, str | None]] = {
    # name: method, options, the encoder's tuned parameters, the frozen prefix
    "decoder_only": ("decoder_only", {}, NONE, "embedding"),
    "coefficients": ("coefficients", {}, NECK + original("1"), "projection"),
    "coefficients@transformer": ("coefficients", BLOCKS_ONLY, BLOCKS + original("1"), None),
    "coefficients@both": ("coefficients", EVERYWHERE, BOTH + original("1"), None),
    "bases": ("bases", {}, NECK + original("02"), "trunk"),
    "bases@transformer": ("bases", BLOCKS_ONLY, BLOCKS + original("02"), None),
    "bases_and_coefficients": ("bases_and_coefficients", {}, NECK + original("012"), "trunk"),
    "bases_and_coefficients@both": (
        "bases_and_coefficients",
        EVERYWHERE,
        BOTH + original("012"),
        None,
    ),
    "lora_xs": ("lora_xs", {"rank": 5}, NECK + original("1"), "projection"),
    "svft": (
        "svft",
        {"band": 2, "pattern": "random", "seed": 3, "step": "absolute"},
        NECK + original("1"),
        "projection",
    ),
    "s_sam@both": ("s_sam", {}, f"{BOTH}{original('1')}|{ALL_NORMS}", None),
    "late_lora": ("late_lora", {"blocks": 1, "rank": 3}, LATE, "last_1_blocks"),
    "salt": (
        "salt",
        {"space": "neck", "rest": 5, "rank": 2},
        f"{NECK}({original('1')}|{SALT})",
        "projection",
    ),
    "norms": ("norms", {}, r"image_encoder\.neck\.[13]\.(weight|bias)", "trunk"),
    "lora": ("lora", {"rank": 3, "alpha": 6.0}, LORA, None),
    "fact": ("fact", {"scale": 0.5}, FACT, None),
    "coefficients_lora": ("coefficients_lora", {}, f"{NECK}{original('1')}|{LORA}", None),
    "adapter": ("adapter", {}, ADAPTER, None),
    "full": ("full", {}, r"image_encoder\..*", None),
}
DECODERS = {
    "tuned": r"mask_decoder\..*",
    "coefficients": r"mask_decoder\..*" + original("1"),
    "frozen": NONE,
}
# One mask to a box takes the first of four hypernetworks, and no predicted IoU. A constant added to
# every key leaves the softmax as it was.
IDLE = r"mask_decoder\.(output_hypernetworks_mlps\.[123]|iou_prediction_head)\..*|.*k_proj\.bias"


class Case:
    """A method with its options, and what it is to tune."""

    def __init__(self, encoder: str, decoder: str, backbone: str = "tiny") -> None:
        name, options, pattern, self.split = ENCODERS[encoder]
        if backbone == "small_tiny_vit" and encoder != "full":
            self.split = self.split or "stem"  # its convolutions come before any attention
        self.apply = partial(getattr(methods, name), decoder=decoder, **options)
        self.name, self.id, self.backbone = name, f"{encoder}+{decoder}", backbone
        self.tuned = re.compile(f"({pattern})|({DECODERS[decoder]})")

    def build(self) -> SamNetwork:
        """Return the network with the method."""
        return self.apply(architecture(self.backbone))


class ZeroShot(Case):
    """The one method without options."""

    def __init__(self) -> None:
        self.apply, self.name, self.id = methods.zero_shot, "zero_shot", "zero_shot"
        self.split, self.tuned, self.backbone = "embedding", re.compile(NONE), "tiny"


CASES = [ZeroShot(), *(Case(encoder, decoder) for encoder in ENCODERS for decoder in DECODERS)]
# Batch statistics, which only TinyViT has, must stay too.
TINY_VIT = [
    Case(encoder, "frozen" if encoder != "decoder_only" else "tuned", "small_tiny_vit")
    for encoder in ENCODERS
    if "@" not in encoder  # they are the same code, with many layers to decompose
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
both_trunks = pytest.mark.parametrize(
    "case", [*CASES, *TINY_VIT], ids=lambda case: f"{case.id} on {case.backbone}"
)


@pytest.fixture(autouse=True)
def small_tiny_vit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "small_tiny_vit", Backbone(128, TinyViTEncoder))


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def logits(network: SamNetwork, image: Tensor) -> Tensor:
    boxes = [torch.tensor([[10.0, 20, 60, 90], [0, 0, 40, 40]]), torch.tensor([[30.0, 5, 99, 70]])]
    return network(image, boxes)


@torch.no_grad()
@every_case
def test_identity_at_the_start(case: Case, image: Tensor) -> None:
    network = case.build()
    # U diag(p) Vh is the weight up to the rounding of float32; all else adds exact zeros
    same = assert_near if any(True for _ in steps(network)) else exactly
    same(logits(network, image), logits(build("tiny"), image))
    assert network.method == case.name


@both_trunks
def test_tunes_what_it_says_and_nothing_else(case: Case, image: Tensor) -> None:
    network = case.build().train()
    tuned = {name for name, p in network.named_parameters() if p.requires_grad}
    assert tuned == {name for name, _ in network.named_parameters() if case.tuned.fullmatch(name)}
    if not tuned:
        with pytest.raises(InputError, match="run `evaluating`"):
            methods.parameter_groups(network, 0.03, 1e-3)
        return

    groups = methods.parameter_groups(network, 0.03, 1e-3, 2e-3, 0.04)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        rate = 2e-3 if name.startswith("image_encoder.") else 1e-3
        if re.fullmatch(".*" + original("1"), name):
            rate = 0.03 if name.startswith("image_encoder.") else 0.04
        assert rates.get(id(parameter)) == (rate if name in tuned else None), name
    decays = {
        group["lr"]: group["weight_decay"]
        for group in torch.optim.Adam(groups, weight_decay=1).param_groups
    }
    assert decays.items() <= {0.03: 0.0, 0.04: 0.0, 1e-3: 1, 2e-3: 1}.items()

    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.Adam(groups)
    for _ in range(3):  # behind a zero, a gradient comes with the second step
        optimizer.zero_grad()
        logits(network, image).square().mean().backward()
        optimizer.step()
    after = network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # the state has what is shared under each of its names
    shared = {n: re.sub(r"blocks\.\d(.*\.factors\.)", r"blocks.0\1", n) for n in moved}
    assert set(shared.values()) <= tuned
    assert all(re.fullmatch(IDLE, name) for name in tuned - moved), tuned - moved
    with_gradient = {n for n, p in network.named_parameters() if p.grad is not None}
    assert with_gradient <= tuned


@torch.no_grad()
@every_case
def test_saved_and_loaded(case: Case, image: Tensor) -> None:
    network, fresh = case.build(), case.build()
    move(network)
    expected = logits(network, image)
    if any(p.requires_grad for p in network.parameters()):
        assert not torch.equal(logits(fresh, image), expected)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    exactly(logits(fresh, image), expected)


@every_case
def test_applied_twice(case: Case) -> None:
    network = case.build()
    before = {name: p.requires_grad for name, p in network.named_parameters()}
    with pytest.raises(InputError, match=f"method '{case.name}' was applied"):
        case.apply(network)
    assert before == {name: p.requires_grad for name, p in network.named_parameters()}


@torch.no_grad()
@every_case
def test_copied(case: Case, image: Tensor) -> None:
    network = case.build()
    before = logits(network, image)
    twin = copy.deepcopy(network)
    exactly(logits(twin, image), before)
    assert methods.count_trainable(twin) == methods.count_trainable(network)
    move(twin)
    exactly(logits(network, image), before)  # nothing of the copy is the original's
    move(network)
    exactly(logits(twin, image), logits(network, image))


@torch.no_grad()
@both_trunks
def test_split_is_the_encoder(case: Case, image: Tensor) -> None:
    network = case.build()
    assert (network.split and network.split.name) == case.split
    if network.split is None:
        return
    features = network.features(image)
    move(network)
    exactly(network.features(image), features)  # the prefix is frozen
    changed = copy.deepcopy(network)
    for name, tensor in changed.image_encoder.state_dict().items():
        if not name.startswith(network.split.reads) and tensor.is_floating_point():
            tensor.mul_(2)
    exactly(changed.features(image), features)  # and reads what it says
    boxes = [torch.tensor([[10.0, 20, 60, 90]])] * len(image)
    exactly(network(image, boxes, features), network(image, boxes))
    # sums in another order: rounding
    assert_near(network.embed(features), network.image_encoder(image))


@torch.no_grad()
@every_case
def test_pickled(case: Case, image: Tensor) -> None:
    # torch refuses to pickle a parametrized module: what travels is what makes it again
    network = case.build()
    move(network)
    made_of = (network.backbone, network.method, network.options, network.state_dict())
    backbone, method, options, state = pickle.loads(pickle.dumps(made_of))
    twin = getattr(methods, method)(architecture(backbone), **options)
    twin.load_state_dict(state)
    exactly(logits(twin, image), logits(network, image))
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        exactly(logits(pickle.loads(pickle.dumps(network)), image), logits(network, image))


@torch.no_grad()
@every_case
def test_merged(case: Case, image: Tensor) -> None:
    network = case.build()
    move(network)
    expected, plain = logits(network, image), build("tiny")
    if case.name == "adapter":
        with pytest.raises(
            InputError, match=r"'adapter' cannot be merged: it adds .*attn\.adapter\."
        ):
            merge(network)
    else:
        plain.load_state_dict(merge(network).state_dict())
        assert_near(logits(plain, image), expected)
    exactly(logits(network, image), expected)  # and stays as it was


def factors(network: SamNetwork) -> list[Any]:
    return [b.attn.qkv.parametrizations.weight[0].factors for b in network.image_encoder.blocks]


def test_fact_shares_its_factors() -> None:
    network = methods.fact(build("tiny"))
    twin = copy.deepcopy(network)
    for one, other in (factors(network), factors(twin), factors(twin.to(torch.float64))):
        assert one.u is other.u and one.v is other.v
    assert factors(twin)[0].u is not factors(network)[0].u
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    addresses = [t.data_ptr() for n, t in torch.load(file).items() if n.endswith("factors.u")]
    assert len(addresses) == 2 and len(set(addresses)) == 1


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (partial(methods.coefficients, space="nek"), "unknown space 'nek'; did you mean 'neck'"),
        (partial(methods.bases, decoder="frosen"), "unknown decoder .* 'frozen'"),
        (partial(methods.full, step="relativ"), "unknown step .* 'relative'"),
        (partial(methods.lora, rank=0), "rank must be between 1 and 32, not 0"),
        (partial(methods.fact, rank=33), "rank must be between 1 and 32, not 33"),
        (partial(methods.coefficients_lora, rank=33), "rank must be between 1 and 32, not 33"),
        (partial(methods.lora_xs, rank=33), "rank must be between 1 and 32, not 33"),
        (partial(methods.svft, band=32), "band must be between 0 and 31, not 32"),
        (partial(methods.svft, pattern="bandet"), "unknown pattern 'bandet'.* 'banded'"),
        (partial(methods.s_sam, space="attention"), "unknown space 'attention'"),
        (partial(methods.late_lora, blocks=0), "blocks must be at least 1, not 0"),
        (partial(methods.late_lora, rank=33), "rank must be between 1 and 32, not 33"),
        (partial(methods.salt, rest=32), "rest must be between 1 and 31, not 32"),
        (partial(methods.salt, rank=9), "rank must be between 1 and 8, not 9"),
        (partial(methods.adapter, width=0), "width must be at least 1, not 0"),
    ],
)
def test_bad_options_leave_the_network_as_it_was(apply: Any, message: str) -> None:
    network = build("tiny")
    with pytest.raises(InputError, match=message):
        apply(network)
    assert network.method == "" and all(p.requires_grad for p in network.parameters())
    methods.coefficients(network)


def train(network: SamNetwork, image: Tensor) -> SamNetwork:
    optimizer = torch.optim.Adam(methods.parameter_groups(network, 0.03, 1e-3))
    for _ in range(3):
        optimizer.zero_grad()
        logits(network, image).square().mean().backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("step", ["relative", "absolute", "log"])
@pytest.mark.parametrize("pattern", ["banded", "random"])
def test_svft_without_a_band_is_ours(pattern: str, step: str, image: Tensor) -> None:
    ours = train(methods.coefficients(build("tiny"), step=step), image)
    other = train(methods.svft(build("tiny"), band=0, pattern=pattern, step=step), image)
    assert dict(ours.named_parameters()).keys() == dict(other.named_parameters()).keys()
    for name, tensor in ours.state_dict().items():
        exactly(other.state_dict()[name], tensor)
    exactly(logits(other, image), logits(ours, image))


@torch.no_grad()
@pytest.mark.parametrize("n", [0, 2])
def test_what_is_between_the_bases(n: int) -> None:
    weight = build("tiny").image_encoder.neck[n].weight.flatten(1)
    u, p, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    sign = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()
    u, p, vh = (part.float() for part in (u * sign, p, vh * sign.T))

    def middle(network: SamNetwork) -> tuple[Tensor, Tensor]:
        move(network)
        conv = network.image_encoder.neck[n]
        return u.T @ conv.weight.flatten(1) @ vh.T, conv.parametrizations.weight.original1

    m, r = middle(methods.lora_xs(build("tiny"), rank=5))
    expected = p.diag()
    expected[:5, :5] += r.view(5, 5) * p[:5]  # U_r R diag(p_r) Vh_r
    assert_near(m, expected)

    m, s = middle(methods.svft(build("tiny"), band=2, step="absolute"))
    assert len(s) == 32 * 5 - 2 * 3
    changed = (m - p.diag()).abs() > 1e-4
    exactly(changed, torch.ones(32, 32).triu(-2).tril(2).bool())

    m, s = middle(methods.s_sam(build("tiny"), space="neck"))
    assert_near(m, torch.relu(p * (1 + s[0]) + s[1]).diag())

    network = methods.salt(build("tiny"), space="neck", rest=6, rank=2)
    m, s = middle(network)
    low = network.image_encoder.neck[n].parametrizations.weight[0]
    expected = torch.cat([torch.relu(p[:-6] * (1 + s[0]) + s[1]), p[-6:]]).diag()
    expected[-6:, -6:] += low.x @ low.y
    assert_near(m, expected)


def test_random_places_are_those_of_the_seed() -> None:
    def made(seed: int) -> list[tuple[int, int]]:
        network = methods.svft(build("tiny"), pattern="random", seed=seed)
        entries = network.image_encoder.neck[2].parametrizations.weight[0]
        return [*zip(entries.rows.tolist(), entries.columns.tolist(), strict=True)]

    assert made(0) == made(0) != made(1)
    assert len(set(made(0))) == 32 * 3 - 2 and {(n, n) for n in range(32)} <= {*made(0)}
    beside = sorted({*made(0)} - {(n, n) for n in range(32)})
    assert beside[:3] == [(0, 18), (0, 28), (1, 23)]  # whichever numpy


def test_what_s_sam_tunes_beside_spectra() -> None:
    network = methods.s_sam(build("tiny"), space="neck", norms=False)
    assert network.split is not None and network.split.name == "projection"
    network = methods.s_sam(build("tiny"), space="neck", norms=False, position=True)
    assert network.image_encoder.pos_embed.requires_grad and network.split is None
    with pytest.raises(InputError, match="position=True: TinyViTEncoder has no position"):
        methods.s_sam(architecture("small_tiny_vit"), position=True)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 2, 3, 10])
def test_late_blocks_of_a_tiny_vit(blocks: int, image: Tensor) -> None:
    network = methods.late_lora(architecture("small_tiny_vit"), blocks=blocks)
    move(network)
    encoder, (_, prefix, suffix, reads) = network.image_encoder, network.split
    exactly(suffix(encoder, prefix(encoder, image)), encoder(image))
    assert sum(name.endswith(".a") for name, _ in encoder.named_parameters()) == blocks
    assert not any(
        name.startswith(reads) for name, p in encoder.named_parameters() if p.requires_grad
    )


def test_seeds() -> None:
    def first(seed: int) -> Tensor:
        network = methods.lora(build("tiny"), seed=seed)
        return network.image_encoder.blocks[0].attn.qkv.parametrizations.weight[0].a

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    exactly(first(0), first(0))
    assert not torch.equal(first(0), first(1))
    exactly(torch.rand(1), expected)  # the generator of the run goes on as before


def test_every_method_has_an_overlay_and_a_row_here() -> None:
    functions = {"count_trainable", "count_variants", "parameter_groups"}
    names = set(methods.__all__) - functions
    assert names == {case.name for case in CASES}
    assert names == {path.stem for path in (CONFIGS / "methods").glob("*.json")}
    assert names == {re.split("[@+]", variant)[0] for variant in VARIANTS}
    assert all(VARIANTS[name] is getattr(methods, name) for name in names)


@pytest.mark.parametrize("path", sorted((CONFIGS / "methods").glob("*.json")), ids=lambda p: p.stem)
def test_overlay(path: Path) -> None:
    overlay, known = (json.loads(p.read_text("utf-8")) for p in (path, CONFIGS / "train.json"))
    own = overlay.keys() - known.keys()  # its options, each by a key of its name
    assert overlay.keys() - own <= {"encoder_rate", "coefficient_rate", "space", "network_def"}
    assert all(overlay["network_def"][key] == f"@{key}" for key in own)
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", path])
    parser["backbone"] = "tiny"
    network = parser.get_parsed_content("network_def")
    assert network.method == path.stem
    assert network.options.items() >= {key: overlay[key] for key in own}.items()


def test_zero_shot_is_evaluated_without_a_training() -> None:
    parser = ConfigParser()
    files = ("train.json", "methods/zero_shot.json", "evaluate.json")
    parser.read_config([CONFIGS / file for file in files])
    parser["backbone"] = "tiny"
    handlers = parser.get_parsed_content("validate#handlers")
    assert handlers and not any(isinstance(handler, ModelLoader) for handler in handlers)
