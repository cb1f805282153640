"""Large pictures are cut, and no cut goes through an instance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_near
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch import nn

from samparser_monai.errors import InputError
from samparser_monai.pictures.inferer import TiledInferer
from samparser_monai.pictures.tiles import holding, windows
from samparser_monai.sam import backbone_named, build
from samparser_monai.training.inferers import InstanceInferer

quick = settings(max_examples=60, deadline=None, derandomize=True)
FRAME = backbone_named("tiny")  # of 128


class Echo(nn.Module):
    """A network that fills its boxes and counts how often its trunk has run."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.trunks = 0

    def features(self, image: torch.Tensor) -> torch.Tensor:
        self.trunks += 1
        return image

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def decode(
        self, embedding: torch.Tensor, boxes: list, names: None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        side = embedding.shape[-1]
        y, x = torch.meshgrid(*[torch.arange(side) + 0.5] * 2, indexing="ij")
        masks = [
            (x > x0) & (x < x1 + 1) & (y > y0) & (y < y1 + 1)
            for x0, y0, x1, y1 in boxes[0].tolist()
        ]
        return torch.stack(masks)[:, None] * 2.0 - 1, torch.full((len(masks), 1), 0.5)


@given(st.integers(1, 400), st.integers(1, 200), st.floats(0, 0.9), st.data())
@quick
def test_windows_cover_and_are_few(
    side: int, tile: int, overlap: float, data: st.DataObject
) -> None:
    cuts = windows(side, tile, overlap)
    assert {p for low, high in cuts for p in range(low, high)} == set(range(side))
    assert all(high - low == min(tile, side) for low, high in cuts)
    first = data.draw(st.integers(0, side - 1))
    last = data.draw(st.integers(first, side - 1))
    low, high = holding(cuts, first, last)
    assert 0 <= low <= first <= last < high <= side
    if last - first + 1 <= int(min(tile, side) * overlap):
        assert (low, high) in cuts
    assert high - low >= min(tile, side)


BOXES = {  # XYXY
    "inside one tile": [10, 20, 60, 70],
    "on a border": [90, 100, 140, 150],
    "larger than a tile": [30, 40, 280, 330],
    "the whole picture": [0, 0, 299, 349],
}


def test_instances_are_whole() -> None:
    network = Echo()
    inferer = TiledInferer(FRAME, tile=128, overlap=0.25, at_once=2)
    boxes = torch.tensor(list(BOXES.values()), dtype=torch.float32)
    (found,) = inferer(torch.zeros(1, 3, 350, 300), network, [boxes])
    for (name, (x0, y0, x1, y1)), one in zip(BOXES.items(), found, strict=True):
        wanted = np.zeros((350, 300), np.uint8)
        wanted[y0 : y1 + 1, x0 : x1 + 1] = 1
        mask = coco.decode(one["rle"])
        if max(x1 - x0, y1 - y0) < 128:
            assert np.array_equal(mask, wanted), name
        else:  # seen at less than half its size
            assert (mask & wanted).sum() / (mask | wanted).sum() > 0.97, name
        assert one["score"] == 0.5
    assert network.trunks == 3  # the last two have one between them
    inferer(torch.zeros(1, 3, 350, 300), network, [boxes[:1].repeat(5, 1)])
    assert network.trunks == 4  # once a tile, however many boxes


def test_portions_are_the_whole() -> None:
    network = build("tiny").eval()
    pictures = torch.rand(2, 3, 128, 128)
    boxes = [
        torch.tensor([[4.0, 5, 60, 70]]).repeat(n, 1) + torch.arange(n)[:, None] for n in (3, 5)
    ]
    with torch.no_grad():
        whole = network(pictures, boxes)
        portions = InstanceInferer(at_once=2)(pictures, network, boxes)
        cached = InstanceInferer()(pictures, network, boxes, network.features(pictures))
    assert_near(portions, whole)
    assert_near(cached, whole)


def test_small_picture_is_not_cut() -> None:
    network = Echo()
    box = np.array([[3, 5, 40, 50]], dtype=np.float32)
    inferer = TiledInferer(FRAME, tile=128)
    ((one,),) = inferer(torch.zeros(1, 3, 64, 128), network, [box])
    assert network.trunks == 1 and coco.toBbox(one["rle"]).tolist() == [3, 5, 38, 46]
    assert inferer(torch.zeros(1, 3, 64, 128), network, [np.zeros((0, 4))]) == [[]]
    assert network.trunks == 1


@pytest.mark.parametrize("option", [{"tile": 0}, {"overlap": 1.0}, {"at_once": 0}])
def test_bad_option_is_one_error(option: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(option))):
        TiledInferer(FRAME, **option)
