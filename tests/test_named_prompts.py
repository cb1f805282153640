"""Organs asked for by name: in the network, in its tuned part, in training and in volumes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from closeness import assert_near
from conftest import AFFINES, LABELS, SMALL, ct, make_dataset, move, run, save_volume
from monai.data import Dataset, MetaTensor
from torch import Tensor

from samparser_monai import methods
from samparser_monai.errors import InputError, root_cause
from samparser_monai.metrics.organs import OrganDice
from samparser_monai.sam import SamNetwork, backbone_named, build
from samparser_monai.sam.named_prompts import organs_in, with_names
from samparser_monai.training.losses import BoxPromptLoss
from samparser_monai.training.naming import (
    AlsoNamed,
    Answer,
    PromptInferer,
    PromptLoss,
    RandNamesd,
    iou_of,
    start_at_boxes,
)
from samparser_monai.tuned.merge import merge
from samparser_monai.tuned.part import apply_tuned, load_tuned, read_tuned, save_tuned
from samparser_monai.volumes import SliceDataset, abdomen_ct_items, inference_items
from samparser_monai.volumes.naming import Naming, followed, smoothed
from samparser_monai.volumes.organ_names import pieces_of
from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.session import VolumeSession
from samparser_monai.volumes.transforms import Instancesd, NamedOrgansd, OrganMasksd

ORGANS = list(LABELS)


def named_network(
    organs: list[str] = ORGANS, names_decoder: str = "shared", **options: Any
) -> SamNetwork:
    return with_names(methods.coefficients(build("tiny"), **options), organs, names_decoder)


@pytest.fixture
def embedding() -> Tensor:
    return torch.randn(2, 32, 16, 16, generator=torch.Generator().manual_seed(0))


def embed(network: SamNetwork) -> Tensor:
    side = backbone_named("tiny").image_size
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    return network.embed(network.features(image))


@torch.no_grad()
def test_a_name_begins_as_the_box_of_its_place_in_the_body() -> None:
    network = named_network()
    pictures = embed(network)
    bodies = torch.tensor([[[0.0, 0.0, 60.0, 60.0]], [[20.0, 10.0, 40.0, 50.0]]])
    names = [torch.tensor([0]), torch.tensor([3])]
    found = network.decode(pictures, bodies, names=names)
    for one, other in zip(found, network.decode(pictures, bodies), strict=True):
        assert_near(one, other, 1e-5)
    network.named_prompts.places[3] = torch.tensor([0.5, 0.25, 0.75, 0.5])
    bodies[1] = torch.tensor([30.0, 20.0, 35.0, 30.0])
    asked = network.decode(pictures, bodies)
    bodies[1] = torch.tensor([20.0, 10.0, 40.0, 50.0])
    for one, other in zip(network.decode(pictures, bodies, names=names), asked, strict=True):
        assert_near(one, other, 1e-5)


@torch.no_grad()
def test_boxes_are_asked_as_ever_beside_names() -> None:
    plain, network = methods.coefficients(build("tiny")), named_network()
    pictures = embed(plain)
    boxes = [torch.tensor([[3.0, 4.0, 20.0, 30.0], [1.0, 2.0, 9.0, 9.0]]), torch.empty(0, 4)]
    alone = plain.decode(pictures, boxes)
    move(network.named_prompts)
    for names in (None, [torch.tensor([-1, -1]), torch.empty(0, dtype=torch.long)]):
        found = network.decode(pictures, boxes, names=names)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))
    mixed, _ = network.decode(pictures, boxes, names=[torch.tensor([-1, 2]), torch.empty(0).long()])
    torch.testing.assert_close(mixed[0], alone[0][0])
    assert not torch.allclose(mixed[1], alone[0][1])


@torch.no_grad()
def test_a_decoder_of_their_own_leaves_boxes_as_they_are() -> None:
    shared, network = named_network(), named_network(names_decoder="own")
    pictures = embed(network)
    boxes = [torch.tensor([[3.0, 4.0, 20.0, 30.0]] * 3), torch.tensor([[1.0, 2.0, 9.0, 9.0]])]
    names = [torch.tensor([-1, 2, -1]), torch.tensor([0])]
    asked = network.decode(pictures, boxes, names=names)
    for one, other in zip(asked, shared.decode(pictures, boxes, names=names), strict=True):
        assert_near(one, other, 1e-5)  # it begins as the network's
    move(network.named_prompts.decoder)
    moved = network.decode(pictures, boxes, names=names)
    for before, after in zip(asked, moved, strict=True):
        assert_near(after[[0, 2]], before[[0, 2]], 1e-5)
        assert not torch.isclose(after[[1, 3]], before[[1, 3]]).all()
    for place, n in ((1, 0), (3, 1)):  # the same alone
        some = slice(1, 2) if n == 0 else slice(0, 1)
        alone = network.decode(pictures[n : n + 1], [boxes[n][some]], names=[names[n][some]])
        for one, other in zip(alone, moved, strict=True):
            assert_near(one[0], other[place], 1e-5)


@pytest.mark.parametrize("names_decoder", ["shared", "own"])
@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("named", [False, True])
def test_no_prompts_have_no_masks(names_decoder: str, pictures: int, named: bool) -> None:
    """An augmented view may show none of a picture's objects."""
    network = named_network(names_decoder=names_decoder)
    names = [torch.empty(0).long()] * pictures if named else None
    logits, iou = network.decode(
        embed(network)[:pictures], [torch.empty(0, 4)] * pictures, names=names
    )
    assert logits.shape == (0, 1, 32, 32)
    assert iou.shape == (0, 1)
    loss = PromptLoss(BoxPromptLoss(), iou=1.0)
    none = torch.empty(0, dtype=torch.bool)
    learned = loss(Answer(logits, iou, none), torch.empty(0, 1, 32, 32))
    assert learned == 0
    learned.backward()


def test_the_names_decoder_is_chosen_once() -> None:
    network = named_network(names_decoder="own")
    assert with_names(network, ORGANS, "own") is network
    with pytest.raises(InputError, match="give --name_decoder own"):
        with_names(network, ORGANS)
    with pytest.raises(InputError, match="did you mean 'shared'"):
        with_names(build("tiny"), ORGANS, "share")
    groups = methods.parameter_groups(network, 0.03, 1e-5, name_decoder_rate=2e-4)
    (group,) = [group for group in groups if group["lr"] == 2e-4]
    assert {id(p) for p in group["params"]} == {
        id(p) for p in network.named_prompts.decoder.parameters()
    }
    assert all(p.requires_grad for p in group["params"])


def test_names_cost_nothing_where_nobody_asks() -> None:
    network = with_names(methods.coefficients(build("tiny")), [])
    assert network.named_prompts is None
    assert organs_in(network.state_dict())[0] == []
    counts = methods.count_trainable(named_network())
    assert counts == {**methods.count_trainable(network), "names": len(ORGANS) * 2 * 32}


def test_names_have_a_rate_of_their_own() -> None:
    groups = methods.parameter_groups(named_network(), 0.03, 1e-5)
    (group,) = [group for group in groups if group["lr"] == 3e-3]
    assert [p.shape for p in group["params"]] == [(4, 2, 32)]
    assert group["weight_decay"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decoder": "frozen"},
        {"decoder": "frozen", "names_decoder": "own"},
        {"decoder": "coefficients", "names_decoder": "own"},
    ],
)
def test_a_tuned_part_carries_its_names(tmp_path: Path, options: dict) -> None:
    network = named_network(**options)
    move(network)
    network.named_prompts.places.uniform_()
    path = tmp_path / "tuned.safetensors"
    save_tuned(path, network, {}, network.state_dict())
    assert read_tuned(path)[1]["names"] == ORGANS
    decoder = {k: v for k, v in options.items() if k == "decoder"}
    other, same = build("tiny"), methods.coefficients(build("tiny"), **decoder)
    apply_tuned(path, other)
    load_tuned(path, same)
    for loaded in (other, same):
        assert loaded.named_prompts.organs == ORGANS
        assert torch.equal(loaded.named_prompts.tokens, network.named_prompts.tokens)
        assert torch.equal(loaded.named_prompts.places, network.named_prompts.places)
        for name, tensor in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)
    with pytest.raises(InputError, match="the network knows"):
        load_tuned(path, named_network(ORGANS[::-1], **options))


def test_weights_bring_their_names_whoever_loads_them() -> None:
    network, other = named_network(), methods.coefficients(build("tiny"))
    move(network)
    other.load_state_dict(network.state_dict())
    assert other.named_prompts.organs == ORGANS
    assert torch.equal(other.named_prompts.tokens, network.named_prompts.tokens)


def test_names_are_left_out_of_plain_sam(caplog: pytest.LogCaptureFixture) -> None:
    network = named_network()
    move(network)
    plain = merge(network)
    assert plain.named_prompts is None
    assert "names are left out" in caplog.text
    with torch.no_grad():
        torch.testing.assert_close(
            plain.decode(embed(plain))[0], network.decode(embed(network))[0], rtol=1e-4, atol=1e-4
        )


def test_the_iou_of_nothing_is_0() -> None:
    logits, label = torch.full((3, 1, 4, 4), -1.0), torch.zeros(3, 1, 4, 4)
    logits[0, 0, :2], label[0, 0, 1:3] = 1, 1
    label[1, 0, 0, 0] = -1
    assert iou_of(logits, label).tolist() == pytest.approx([1 / 3, 0, 0])


def test_loss_of_boxes_alone_is_the_paper_s() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 8, 8, generator=generator)
    label = (torch.rand(3, 1, 8, 8, generator=generator) > 0.5).float()
    answer = Answer(logits, torch.zeros(3, 1), torch.zeros(3, dtype=torch.bool))
    assert torch.equal(PromptLoss(BoxPromptLoss())(answer, label), BoxPromptLoss()(logits, label))
    trained = PromptLoss(BoxPromptLoss(), iou=2.0)(answer, label)
    more = 2.0 * (iou_of(logits, label) ** 2).mean()
    torch.testing.assert_close(trained, BoxPromptLoss()(logits, label) + more)


def test_boxes_are_trained_as_without_names() -> None:
    side, found = backbone_named("tiny").image_size, []
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    boxes, label = torch.tensor([[3.0, 4.0, 20.0, 30.0]] * 3), torch.zeros(3, 1, 32, 32)
    label[:, 0, 4:9, 4:9] = 1
    for asked in ([-1], [-1, 2, 0]):
        network, names = named_network(names_decoder="own").train(), torch.tensor(asked)
        answer = PromptInferer()(image, network, [boxes[: len(names)]], names=[names])
        PromptLoss(BoxPromptLoss())(answer, label[: len(names)]).backward()
        own = network.named_prompts.decoder
        trained = any(p.grad is not None for p in own.parameters())
        assert trained == (len(names) > 1)
        network.named_prompts = None
        found.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert any("image_encoder" in name for name in found[0])
    torch.testing.assert_close(found[1], found[0])


def test_an_absent_organ_counts_by_its_cross_entropy_alone() -> None:
    logits, label = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    answer = Answer(logits, torch.zeros(2, 1), torch.ones(2, dtype=torch.bool))
    loss = PromptLoss(BoxPromptLoss(), bce=5.0)
    assert float(loss(answer, label)) == pytest.approx(5 * np.log(2), rel=1e-6)
    label[0, 0, :4] = 1
    assert float(loss(answer, label)) > 5 * np.log(2) + 0.4


def test_names_begin_at_the_mean_place_of_their_organ_unless_they_were_trained() -> None:
    network = named_network()
    truth = np.zeros((2, 64, 128), np.uint8)
    image = torch.zeros(2, 1, 64, 128)
    image[:, 0, 8:56, 16:112] = 200
    image[:, 0, 60:62] = 200  # a table
    truth[0, 8:24, 16:32] = truth[1, 24:40, 32:48] = 1
    data = Dataset([{"named": ORGANS, "slice": n} for n in range(2)])

    def load(item: dict[str, Any]) -> dict[str, Any]:
        return {"truth": truth[item["slice"]], "image": image[item["slice"]]}

    start_at_boxes(network, data, load, ORGANS)
    places = network.named_prompts.places.clone()
    expected = torch.tensor([0.5 / 6, 0.5 / 3, 1.5 / 6, 1.5 / 3])
    torch.testing.assert_close(places[0], expected, rtol=0.1, atol=0)  # to a pixel of the body's
    assert places[1:].tolist() == [[0, 0, 1, 1]] * 3  # shown nowhere
    move(network.named_prompts)
    start_at_boxes(network, Dataset(data.data[1:]), load, ORGANS)
    assert torch.equal(network.named_prompts.places, places)


def sliced(
    root: Path, labelled: list[str] | None = None, names: bool = True, **options: float
) -> list[dict]:
    """Return the training slices of a data set whose organs are on slices 2 and 3 alone."""
    image, label = ct(0)
    label[..., [0, 1, 4, 5]] = 0
    save_volume(root / "i.nii.gz", image)
    save_volume(root / "l.nii.gz", label)
    entry = {"image": "i.nii.gz", "label": "l.nii.gz", "case": "c"}
    more = {} if labelled is None else {"labelled": labelled}
    other = {**entry, "case": "d", "label": "m.nii.gz", "image": "j.nii.gz"}
    save_volume(root / "j.nii.gz", image)
    save_volume(root / "m.nii.gz", label)
    content = {"training": [{**entry, **more}], "validation": [other]}
    (root / "list.json").write_text(json.dumps(content))
    items = abdomen_ct_items(root / "list.json", labels=LABELS, names=names)
    options |= {"min_area": 20, "min_volume": 100}
    return SliceDataset(items["train"], labels=LABELS, cache_dir=root / "cache", **options).data


def test_slices_without_an_organ_train_names_alone(tmp_path: Path) -> None:
    assert [item["slice"] for item in sliced(tmp_path, names=False)] == [2, 3]
    assert len(sliced(tmp_path)) == 3  # a quarter of the slices with organs, at least one
    items = sliced(tmp_path, empty_share=2.0)
    assert [item["slice"] for item in items] == list(range(6))
    assert items[0]["named"] == ["kidney", "liver"]  # the spleen was not labelled: not absent
    more = sliced(tmp_path, labelled=["liver", "kidney", "spleen"])
    assert more[0]["named"] == ["kidney", "liver", "spleen"]
    with pytest.raises(InputError, match="did you mean 'liver'"):
        sliced(tmp_path, labelled=["livr"])


def asked_by_name(**more: Any) -> dict[str, Any]:
    """Return a slice whose upper left corner is liver, as it comes to RandNamesd."""
    truth = np.zeros((32, 32), np.uint8)
    truth[:8, :8] = 1
    item = {"case": "c", "slice": 0, "named": ["liver", "spleen"], "truth": truth}
    item = NamedOrgansd(64, 16)({**item, "image": torch.full((1, 32, 32), 200.0)})
    return (
        item | {"boxes": torch.tensor([[0.0, 0, 7, 7]]), "label": torch.ones(1, 1, 16, 16)} | more
    )


def test_a_share_of_the_slices_is_asked_by_name() -> None:
    ask = RandNamesd(ORGANS, 0.5, 64, 16)
    ask.set_random_state(0)
    found = [ask(asked_by_name(slice=k)) for k in range(200)]
    assert 70 < sum(len(one["names"]) == 3 for one in found) < 130
    assert all(one["names"].tolist() in ([-1], [-1, 0, 2]) for one in found)
    assert [len(ask(asked_by_name(slice=k))["names"]) for k in range(200)] == [
        len(one["names"]) for one in found
    ]
    named = RandNamesd(ORGANS, 1.0, 64, 16)(asked_by_name())
    assert named["label"].sum((1, 2, 3)).tolist() == [256, 16, 0]
    assert named["boxes"].tolist() == [[0, 0, 7, 7], *[[0, 0, 64, 64]] * 2]  # the body fills it
    empty = ask(asked_by_name(boxes=torch.empty(0, 4), label=torch.empty(0, 1, 16, 16)))
    assert empty["names"].tolist() == [0, 2]


def test_of_many_names_those_are_asked_that_a_picture_shows() -> None:
    item = asked_by_name(named=ORGANS, shown=torch.tensor([2]))
    item["ignored"] = torch.zeros(32, 32, dtype=torch.bool)
    item["ignored"][16:] = True
    for slice_ in range(9):
        named = RandNamesd(ORGANS, 1.0, 64, 16, count=2)({**item, "slice": slice_})
        assert len(named["names"]) == 3
        assert named["names"][1] == 2
        assert named["label"][1, 0, :4, :4].eq(1).all()
        assert named["label"][2, 0, :8].eq(0).all()
        assert named["label"][1:, 0, 8:].eq(-1).all()  # nobody knows what is there


def test_validation_judges_names_beside_boxes() -> None:
    item = AlsoNamed(ORGANS)(asked_by_name(organs=torch.tensor([1]), size=(32, 32)))
    assert item["names"].tolist() == [-1, 0, 2]
    logits = torch.full((3, 1, 16, 16), -9.0)
    logits[0, 0, :4, :4] = logits[1, 0, :4, :2] = 9
    batch = {key: [value] for key, value in item.items()} | {"pred": logits}
    batch["truth"] = [torch.from_numpy(item["truth"])]
    metric = OrganDice()
    network = named_network()
    untaught = OrganMasksd("pred", 64, LABELS, network)(batch)["judged"]
    assert [one["organ"] for one in untaught] == ["liver"]  # what a name would find means nothing
    network.named_prompts.tokens.data.fill_(1e-3)
    metric.update(OrganMasksd("pred", 64, LABELS, network)(batch)["judged"])
    found = metric.summary()
    assert found["liver"] == pytest.approx(100, abs=1e-6)
    assert found["liver by name"] == pytest.approx(200 / 3, rel=0.1)  # half of it was found
    assert np.isnan(found["spleen by name"])  # is not there, and was not found
    assert metric.compute() == pytest.approx((100 + found["liver by name"]) / 2)


def test_a_name_is_judged_by_what_is_too_small_for_a_box_too() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[:8, :8], truth[:20, 40:60] = 1, 2
    image = torch.full((1, 64, 64), 200.0)
    item = {"case": "c", "slice": 0, "named": ["liver", "kidney"], "truth": truth, "image": image}
    item = AlsoNamed(ORGANS)({**Instancesd(100)(NamedOrgansd(64, 64)(item)), "size": (64, 64)})
    whole = torch.from_numpy(truth)
    answers = torch.stack([whole == 2, whole == 1, whole == 2])[:, None]
    batch = {key: [value] for key, value in item.items()} | {"pred": answers * 18.0 - 9}
    judged = OrganMasksd("pred", 64, LABELS)(batch)["judged"]
    assert [one["organ"] for one in judged] == ["kidney", "liver by name", "kidney by name"]
    for one in judged:
        assert torch.equal(one["prediction"], one["truth"])


class Finder(torch.nn.Module):
    """A "network" that knows organs by their intensity, and fills its boxes with the largest."""

    def __init__(self, values: dict[str, float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.values = list(values.values())
        self.named_prompts = torch.nn.Module()
        self.named_prompts.organs = self.named_prompts.taught = list(values)
        self.boxes = 0

    def features(self, image: Tensor) -> Tensor:
        return image

    embed = features

    def decode(
        self,
        image: Tensor,
        boxes: list[Tensor] | None,
        _points: Any = None,
        _masks: Any = None,
        names: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        picture = torch.nn.functional.interpolate(image, (64, 64))[0, 0]
        if names is not None:
            masks = torch.stack([(picture - self.values[n]).abs() < 0.05 for n in names[0]])
        else:
            self.boxes += sum(map(len, boxes))
            step = image.shape[-1] / 64
            y, x = torch.meshgrid(*[torch.arange(64) * step] * 2, indexing="ij")
            masks = torch.stack(
                [(x >= a) & (x <= c) & (y >= b) & (y <= d) for a, b, c, d in torch.cat(boxes)]
            )
        return torch.where(masks, 10.0, -10.0)[:, None], masks.flatten(1).any(1)[:, None].float()


def body(codes: str = "LPS") -> tuple[MetaTensor, np.ndarray]:
    """Return a volume 0..255 with two kidneys, bits that look like one, and its true kidneys."""
    values = np.full((64, 64, 20), 100.0)
    truth = np.zeros(values.shape, bool)
    truth[8:20, 30:42, 4:14] = truth[44:54, 30:42, 5:15] = True
    values[truth] = 200
    values[24:30, 4:10, 6:16] = 200  # on the side of the first
    values[50:53, 5:9, 1:3] = 200  # too small a part
    affine = np.diag([-1.0, -1.0, 2.0, 1.0]) if codes == "LPS" else np.diag([1.0, 1.0, 2.0, 1.0])
    return MetaTensor(values[None], affine=affine, meta={"filename_or_obj": "v"}), truth


def session_of(volume: MetaTensor, network: torch.nn.Module, plane: str = "axial") -> VolumeSession:
    return VolumeSession(volume, network, backbone_named("tiny"), LABELS, plane)


def finder() -> Finder:
    described = backbone_named("tiny")
    normal = [(v - described.mean[0]) / described.std[0] for v in (200, 30)]
    return Finder(dict(zip(("kidney", "liver"), normal, strict=True)))


@pytest.mark.parametrize("codes", ["LPS", "RAS"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_two_kidneys_are_the_largest_of_each_side(codes: str, plane: str) -> None:
    volume, truth = body(codes)
    session = session_of(volume, finder(), plane)
    asked = [{"label": "kidney"}]
    found = {
        stage: session.segment(asked, None, Naming(stage, least_area=1, smooth=0)).labels()[0] == 2
        for stage in ("name", "components", "refined")
    }
    found = {stage: mask.numpy() for stage, mask in found.items()}
    assert (found["name"] & ~truth).any()
    own = found["name"] & truth  # the finder has a blurred look at them
    assert np.array_equal(found["components"], own)
    assert 2 * (found["refined"] & own).sum() / (found["refined"].sum() + own.sum()) > 0.9
    assert not found["refined"][24:30, 4:10].any()


def test_an_organ_found_nowhere_is_a_row() -> None:
    session = session_of(body()[0], finder())
    found = session.segment([{"label": "kidney"}, {"label": "liver"}], None, Naming())
    assert [(row["organ"], row["iou"]) for row in found.table()] == [("liver", 0), ("kidney", 1)]
    with pytest.raises(InputError, match="unknown organ by name"):
        session.segment([{"label": "spleen"}], None, Naming())


def test_points_change_what_names_have_found() -> None:
    session = session_of(body()[0], finder())
    click = {"label": "kidney", "points": [[14, 36, 8]], "point_labels": [0]}
    network = session.network
    asked = network.decode

    def decode(image: Tensor, boxes: Any, points: Any = None, *_: Any, **names: Any) -> Any:
        # it takes no notice of clicks: alone they are the whole picture's box
        whole = [torch.tensor([[0.0, 0, 1000, 1000]])] * len(points or ())
        return asked(image, boxes or whole, **names)

    network.decode = decode
    found = session.segment([{"label": "kidney"}, click], None, Naming()).labels()[0]
    assert found[14, 36, 8] == 0
    assert found[14, 36, 9] == 2


@pytest.mark.parametrize(
    ("organ", "pieces"),
    [("kidney", 2), ("Kidneys", 2), ("left kidney", 1), ("liver", 1), ("liver tumour", 0)],
)
def test_pieces_of_organs(organ: str, pieces: int) -> None:
    assert pieces_of(organ) == pieces


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.7])
def test_neighbours_are_averaged_as_far_as_there_are_any(sigma: float) -> None:
    stack = torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(0))
    found = torch.stack([*smoothed(iter(stack), sigma)])
    kernel = [np.exp(-0.5 * (n / max(sigma, 1e-9)) ** 2) for n in range(-9, 10)]
    for k in range(9):
        near = [n for n in range(9) if abs(n - k) <= np.ceil(2 * sigma)]
        weights = torch.tensor([kernel[n - k + 9] for n in near], dtype=torch.float32)
        expected = (weights[:, None, None] * stack[near]).sum(0) / weights.sum()
        torch.testing.assert_close(found[k], expected)
    assert torch.equal(torch.stack([*smoothed(iter(stack[:1]), sigma)]), stack[:1])


def test_what_is_cut_off_keeps_its_place() -> None:
    masks = {k: Mask("liver", torch.full((4, 4), -1.0), 1.0) for k in (3, 4, 9)}
    masks[3].logits[0, 0] = masks[4].logits[0, 1] = masks[9].logits[3, 3] = 2
    Naming("components").keep_own("liver", masks, (2, 2.0), 1)
    assert sorted(masks) == [3, 4]


def test_a_piece_is_followed_as_far_as_a_surface_can_lead() -> None:
    """A dome above an organ is its own; what lies beside the dome is another organ."""
    rows, columns = np.ogrid[:64, :64]
    organ = np.stack([(rows - 32) ** 2 + (columns - 20) ** 2 < (16 - k) ** 2 for k in range(16)])
    assert np.array_equal(followed(organ, 1), organ)
    assert np.array_equal(followed(organ[::-1], 1), organ[::-1])
    leaning = np.stack([np.roll(organ[0], 2 * k, axis=1) for k in range(10)])
    assert np.array_equal(followed(leaning, 2), leaning)
    assert not np.array_equal(followed(leaning, 1), leaning)
    leak = organ.copy()
    leak[8:, 24:40, 20:60] = True  # beside its dome
    found = followed(leak, 1)
    assert not (organ & ~found).any()
    assert (found & ~organ).sum() < 0.3 * (leak & ~organ).sum()


def test_what_looks_unlike_the_organ_is_cut_from_its_masks() -> None:
    """Beyond the liver its mask is of the lung: darker than anything on the surest slices."""
    generator = torch.Generator().manual_seed(0)
    liver = torch.zeros(32, 32, dtype=torch.bool)
    liver[8:24, 8:20] = True
    lung = torch.zeros_like(liver)
    lung[4:12, 20:28] = True
    pictures, masks = {}, {}
    for k in range(20):
        shown = liver if k < 14 else lung
        picture = 60 + 10 * torch.randn(32, 32, generator=generator)
        picture[liver] += 100 if k < 14 else 0
        picture[lung] -= 50
        pictures[k] = picture.clamp(0, 255)
        masks[k] = Mask("liver", torch.where(shown, 2.0, -2.0), 0.9)
    session = SimpleNamespace(picture=lambda k, side: pictures[k])
    Naming(evidence=0).cut(session, dict(masks))
    assert all(torch.equal(mask.logits > 0, mask.logits == 2) for mask in masks.values())
    Naming().cut(session, masks)
    assert sorted(masks) == list(range(14))
    for mask in masks.values():
        assert (mask.logits[liver] > 0).float().mean() > 0.9 and not (mask.logits[lung] > 0).any()


def test_an_organ_that_no_slice_is_sure_of_is_not_there() -> None:
    network = finder()
    asked = network.decode

    def decode(*given: Any, **names: Any) -> Any:
        masks, iou = asked(*given, **names)
        return masks, iou * 0.2

    network.decode = decode
    session = session_of(body()[0], network)
    prompts = [{"label": "kidney"}]
    assert not session.segment(prompts, None, Naming()).labels().any()
    assert session.segment(prompts, None, Naming(least_best=0.1)).labels().any()


def prompted(root: Path, organs: Any = (), names: list[str] = ORGANS, **by: Any) -> list[dict]:
    for case in ("a", "b"):
        save_volume(root / "in" / f"{case}.nii.gz", ct(0)[0])
    prompts = None
    if by:
        prompts = root / "prompts.json"
        prompts.write_text(json.dumps(by))
    return inference_items(root / "in", prompts, LABELS, names, organs)


BOX = {"label": "liver", "box": [5, 10, 0, 24, 33, 5]}


def test_without_prompts_all_names_are_asked(tmp_path: Path) -> None:
    every = [{"label": organ} for organ in ORGANS]
    assert [item["prompts"] for item in prompted(tmp_path)] == [every, every]
    for organs in ("liver,spleen", "liver, spleen", ("liver", "spleen")):
        some = [item["prompts"] for item in prompted(tmp_path, organs)]
        assert some == [[{"label": "liver"}, {"label": "spleen"}]] * 2
    mixed = prompted(tmp_path, ["liver", "spleen"], a=[BOX])
    assert [item["prompts"] for item in mixed] == [
        [BOX, {"label": "spleen"}],
        [{"label": "liver"}, {"label": "spleen"}],
    ]


@pytest.mark.parametrize(
    ("organs", "names", "told"),
    [
        ((), [], "train with --names True"),
        ("liver", [], "train a model with --names True"),
        ("livr", ORGANS, "did you mean 'liver'"),
        ("spleen", ["liver"], "unknown organ in organs"),
    ],
)
def test_a_name_that_is_not_known_is_told(
    tmp_path: Path, organs: str, names: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        prompted(tmp_path, organs, names)


def test_a_prompt_by_name_is_checked_for_its_case(tmp_path: Path) -> None:
    asked = {"a": [{"label": "spleen"}], "b": [BOX]}
    one, other = prompted(tmp_path, (), ["liver"], **asked)
    assert "unknown organ by name" in one["error"]
    assert "error" not in other
    one, _ = prompted(tmp_path, (), [], **asked)
    assert "train with --names True" in one["error"]


@pytest.mark.parametrize("inside", ["", "segmentations"])
def test_masks_of_another_model_are_prompts(tmp_path: Path, inside: str) -> None:
    image, label = ct(0)
    save_volume(tmp_path / "in" / "a.nii.gz", image)
    folder = tmp_path / "theirs" / "a" / inside
    save_volume(folder / "liver.nii.gz", (label == 1).astype(np.uint8))
    left = (label == 2) & (np.indices(label.shape)[0] < 36)
    save_volume(folder / "kidney_left.nii.gz", left.astype(np.uint8))
    save_volume(folder / "kidney_right.nii.gz", ((label == 2) & ~left).astype(np.uint8))
    save_volume(folder / "aorta.nii.gz", (label == 1).astype(np.uint8))
    for prompts in (tmp_path / "theirs", tmp_path / "theirs" / "a"):
        (item,) = inference_items(tmp_path / "in", prompts, LABELS)
        assert "error" not in item
        volume = MetaTensor(
            image[None].astype(float),
            affine=AFFINES["LPS"],
            meta={"filename_or_obj": item["image"]},
        )
        session = session_of(volume, finder())
        targets = session.targets(item["prompts"])
        assert {t.label for t in targets} == {"liver", "kidney"}
        assert sum(t.label == "kidney" for t in targets) == 2 * label.shape[2]
    save_volume(tmp_path / "in" / "b.nii.gz", image)
    with pytest.raises(InputError, match="masks of one case's organs, and there are 2 cases"):
        inference_items(tmp_path / "in", tmp_path / "theirs" / "a", LABELS)


def test_from_training_to_a_volume_without_prompts(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ct")
    given = {"dataset_dir": str(root), "bundle_root": str(tmp_path)}
    cache = {"cache_dir": str(tmp_path / "cache")}
    run("train", "train", run_id="training", names=True, **given, **cache, **SMALL)
    tensors, about = read_tuned(tmp_path / "models" / "tuned.safetensors")
    assert about["names"] == ORGANS
    moved = tensors["named_prompts.tokens"].abs().amax((1, 2))
    assert (moved[:2] > 0).all()
    assert moved[2:].tolist() == [0, 0]  # nobody has labelled them
    run("train", "train", "evaluate", run_id="evaluating", names=True, **given, **cache, **SMALL)
    found = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert "liver by name" in found["tuned"]
    assert "liver by name" not in found["published"]
    for model in ("tuned", "published"):
        boxed = [v for k, v in found[model].items() if "by name" not in k and k != "mean"]
        assert found[model]["mean"] == pytest.approx(np.mean(boxed), abs=0.02)
    options = {**given, "backbone": "tiny"}
    with pytest.raises(RuntimeError) as raised:  # what its name would find means nothing
        run("infer", "inference", run_id="inference", organs="liver,spleen", **options)
    told = str(root_cause(raised.value))
    assert "unknown organ in organs: 'spleen' (known: kidney, liver)" in told
    run("infer", "inference", run_id="inference", **options)
    table = pd.read_csv(tmp_path / "eval" / "predictions" / "cases.csv")
    assert table["organ"].tolist() == ["liver", "kidney"] * 3
    assert set(table["asked by"]) == {"name"}
    volume = nib.load(tmp_path / "eval" / "predictions" / "case_0.nii.gz")
    assert set(np.unique(np.asanyarray(volume.dataobj))) <= {0, 1, 2}


def test_a_model_without_names_says_what_to_train(tmp_path: Path) -> None:
    save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    torch.save(methods.coefficients(build("tiny")).state_dict(), tmp_path / "m.pt")
    options = {"bundle_root": str(tmp_path), "backbone": "tiny"}
    options |= {"dataset_dir": str(tmp_path / "in"), "model_file": str(tmp_path / "m.pt")}
    with pytest.raises(Exception) as caught:
        run("infer", "inference", run_id="inference", **options)
    assert "train with --names True" in str(root_cause(caught.value))
