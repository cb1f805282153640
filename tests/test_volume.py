"""A volume as a session: what is computed, in which frame, and how prompts spread."""

import gc
import tempfile
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import LABELS
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import nn

from samparser_monai.errors import InputError
from samparser_monai.sam import backbone_named
from samparser_monai.volumes.inferer import VolumeInferer
from samparser_monai.volumes.propagation import Propagation
from samparser_monai.volumes.session import PROMPTS_AT_ONCE, TRUNK_AT_ONCE, VolumeSession
from samparser_monai.volumes.targets import SlicePrompt, Target
from samparser_monai.volumes.view import plane_of

Shape = tuple[int, int, int]


class Bright(nn.Module):
    """A "network" that finds what is bright inside its box; it counts its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.count = 0

    def features(self, image: torch.Tensor) -> torch.Tensor:
        self.count += len(image)
        return image

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def decode(
        self, images: torch.Tensor, boxes: list[torch.Tensor], points: None, masks: list[list]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        y, x = torch.meshgrid(*[torch.arange(images.shape[-1])] * 2, indexing="ij")
        found = [
            # 2 pixels to a voxel
            (image[0] > 0) & (x >= x0) & (x <= x1 + 1) & (y >= y0) & (y <= y1 + 1)
            for image, of_image in zip(images, boxes, strict=True)
            for x0, y0, x1, y1 in of_image
        ]
        return torch.stack(found)[:, None] * 20.0 - 10.0, torch.ones(len(found), 1)


def volume_of(organ: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 2)) -> MetaTensor:
    """Return a windowed volume where an organ is bright, 1xXxYxZ along RAS."""
    values = torch.from_numpy(np.where(organ, 200.0, 20.0)).float()[None]
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return MetaTensor(values, affine=affine, meta={"filename_or_obj": "synthetic"})


def ellipsoid(shape: Shape = (64, 64, 40), radii: Shape = (16, 12, 13)) -> np.ndarray:
    inside = sum(
        ((np.arange(n) - n // 2) / r).reshape([-1 if a == axis else 1 for a in range(3)]) ** 2
        for axis, (n, r) in enumerate(zip(shape, radii, strict=True))
    )
    return inside <= 1


def session_of(organ: np.ndarray, network: nn.Module | None = None, **options: object) -> tuple:
    network = network or Bright()
    inferer = VolumeInferer(backbone_named("tiny"), LABELS, **options)
    return inferer.session(volume_of(organ), network), network


def box_at(organ: np.ndarray, k: int) -> dict:
    shown = np.argwhere(organ[..., k])
    return {"label": "liver", "box": [*shown.min(0).tolist(), k, *shown.max(0).tolist(), k]}


def whole_box(organ: np.ndarray) -> dict:
    shown = np.argwhere(organ)
    return {"label": "liver", "box": [*shown.min(0).tolist(), *shown.max(0).tolist()]}


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_trunk_runs_once_on_a_slice_however_many_ask() -> None:
    organ = ellipsoid()
    session, network = session_of(organ)
    prompts = [whole_box(organ), {**whole_box(organ), "label": "spleen"}]
    depth = np.ptp(np.flatnonzero(organ.any((0, 1)))) + 1
    session.segment(prompts)
    session.segment([*prompts, box_at(organ, 20)], Propagation())
    assert network.count == depth


def test_what_is_kept_changes_nothing_but_memory() -> None:
    organ = ellipsoid()
    few, many = (
        session_of(organ, kept=kept)[0].segment([box_at(organ, 20)], Propagation()).labels()
        for kept in (1, 96)
    )
    assert torch.equal(few, many)


def test_objects_go_on_in_step_and_answer_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROMPTS_AT_ONCE, "cpu", 64)
    monkeypatch.setitem(TRUNK_AT_ONCE, "cpu", 3)
    two = ellipsoid((128, 64, 40), (16, 12, 13))
    left, right = np.roll(two, -32, 0), np.roll(two, 26, 0)
    prompts = [whole_box(left), {**box_at(right, 20), "label": "spleen"}]
    session, network = session_of(left | right, Asked())
    both = session.segment(prompts, Propagation())
    passes, alone = len(network.asked), []
    for prompt in prompts:
        session, network = session_of(left | right, Asked())
        alone.append(session.segment([prompt], Propagation()))
        passes -= len(network.asked)
    assert passes < 0  # of the decoder, fewer than for one after the other
    for k, masks in both.masks.items():
        expected = [mask for one in alone for mask in one.masks.get(k, [])]
        assert [mask.label for mask in masks] == [mask.label for mask in expected]
        for mask, other in zip(masks, expected, strict=True):
            assert torch.equal(mask.logits, other.logits) and mask.iou == other.iou


def test_slices_without_room_in_memory_wait_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    organ = ellipsoid()
    session, network = session_of(organ, kept=2)
    session.segment([box_at(organ, 20)], Propagation())
    assert network.count == session.computed < session.view.depth  # though asked twice and more
    alone, _ = session_of(organ)
    for k in (10, 20, 30):
        assert torch.equal(session.features(k), alone.features(k))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb+", buffering=0))
    other, _ = session_of(organ, kept=1)
    with pytest.raises(InputError, match=r"no room in .*set TMPDIR"):
        other.see(range(3))


PROMPTS: dict[str, Callable[[np.ndarray], list[dict]]] = {
    "3-D box": lambda organ: [whole_box(organ)],
    "one middle box": lambda organ: [box_at(organ, 20)],
    "one box above": lambda organ: [box_at(organ, 25)],
    "two boxes": lambda organ: [box_at(organ, 12), box_at(organ, 28)],
    "3-D box and a box": lambda organ: [box_at(organ, 24), whole_box(organ)],
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_spread_over_the_organ_and_stop_at_its_ends(name: str) -> None:
    organ = ellipsoid()
    session, _ = session_of(organ)
    found = session.segment(PROMPTS[name](organ), Propagation()).labels().numpy()[0] == 1
    assert not (found & ~organ).any()
    assert dice(found, organ) > 0.9  # small caps are below the least area


def test_only_what_is_asked_for_is_found() -> None:
    two = ellipsoid((128, 64, 40), (16, 12, 13))
    two = np.roll(two, -32, 0) | np.roll(two, 32, 0)
    left = two & (np.indices(two.shape)[0] < 64)
    session, _ = session_of(two)
    found = session.segment([box_at(left, 20)], Propagation()).labels().numpy()[0] > 0
    assert dice(found, left) > 0.9


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.lists(st.integers(9, 31), min_size=1, max_size=4, unique=True))
def test_a_box_more_never_loses_a_slice(slices: list[int]) -> None:
    organ = ellipsoid()
    session, _ = session_of(organ)
    found = session.segment([box_at(organ, k) for k in slices], Propagation())
    assert {k for k in range(session.view.depth) if k in found.masks} >= set(
        range(min(slices), max(slices) + 1)
    )
    assert len(session.targets([box_at(organ, k) for k in slices])) == 1


def test_two_boxes_on_one_slice_are_two_objects_and_points_join_them() -> None:
    organ = np.zeros((64, 64, 8), bool)
    organ[5:15, 5:15], organ[40:50, 5:15] = True, True
    session, _ = session_of(organ)
    one = {"label": "kidney", "box": [5, 5, 3, 14, 14, 3]}
    other = {"label": "kidney", "box": [40, 5, 3, 49, 14, 3]}
    point = {"label": "kidney", "points": [[45, 10, 3], [42, 7, 5]], "point_labels": [1, 0]}
    targets = session.targets([point, one, other])
    assert len(targets) == 2
    (clicked,) = [t for t in targets if t.prompts[3].points is not None]
    assert clicked.prompts[5].points[0, 2] == 0
    flat = session.targets([{"label": "liver", "points": [[1, 1, 1], [60, 60, 2]]}])
    assert len(flat) == 1


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((0.7, 0.7, 3), "axial"),
        ((0.8, 0.8, 0.6), "axial"),
        ((1, 1, 1), "axial"),
        ((0.7, 4, 0.7), "coronal"),
        ((4, 0.7, 0.7), "sagittal"),
    ],
)
def test_plane_of_acquisition(spacing: tuple[float, float, float], plane: str) -> None:
    assert plane_of(volume_of(np.zeros((4, 4, 4), bool), spacing)) == plane


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_plane_leads_back_to_the_same_voxels(plane: str) -> None:
    organ = np.zeros((64, 64, 64), bool)
    organ[5:20, 8:30, 3:40] = True
    session, _ = session_of(np.ones_like(organ), plane=plane)  # the box alone decides
    assert np.array_equal(session.segment([whole_box(organ)]).labels().numpy()[0] == 1, organ)


def test_larger_logit_wins() -> None:
    organ = ellipsoid()

    class Rising(Bright):
        def decode(self, *prompts: object) -> tuple[torch.Tensor, torch.Tensor]:
            logits, iou = super().decode(*prompts)
            order = torch.arange(1.0, len(logits) + 1).view(-1, 1, 1, 1)
            return logits * order, iou

    session, _ = session_of(organ, Rising())
    prompts = [{**whole_box(organ), "label": label} for label in ("spleen", "liver")]
    values = set(np.unique(session.segment(prompts).labels().numpy()))
    assert values == {0, LABELS["liver"]}


def click(*voxel: int, kind: int = 1, label: str = "liver") -> dict:
    return {"label": label, "points": [[*voxel]], "point_labels": [kind]}


class Asked(Bright):
    """It notes whether a box, points and a mask were given, and takes no notice of points."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bool, bool, bool]] = []

    def decode(
        self,
        image: torch.Tensor,
        boxes: list[torch.Tensor] | None,
        points: list[torch.Tensor] | None,
        masks: list[list] | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked.append((boxes is not None, points is not None, masks is not None))
        whole = [torch.tensor([[0.0, 0, 200, 200]]).repeat(len(p), 1) for p in points or ()]
        return super().decode(image, boxes or whole, None, None)


def test_a_click_that_a_box_contradicts_is_asked_together_with_the_box() -> None:
    organ = ellipsoid()
    (target,) = session_of(organ)[0].targets([whole_box(organ), click(32, 32, 20, kind=0)])
    session, network = session_of(organ, Asked())
    session.segment([whole_box(organ), click(32, 32, 20)])
    assert not any(points for _, points, _ in network.asked)
    session.segment([whole_box(organ), click(32, 32, 20, kind=0)])
    assert {(True, True, False), (True, True, True)} <= set(network.asked)
    boxed = [box for box, *_ in network.asked]
    assert boxed == sorted(boxed, reverse=True)  # by clicks alone where none has heard them
    assert not target.starting()  # a background point starts nothing
    assert torch.equal(target.on_its_slices()[20].box, target.box)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("boxed", "rule"),
    [("3-D box", None), ("3-D box", Propagation()), ("two boxes", Propagation())],
)
def test_a_click_that_says_what_was_found_changes_nothing(
    kind: int, boxed: str, rule: Propagation | None
) -> None:
    organ = ellipsoid()
    prompts = PROMPTS[boxed](organ)
    place = (32, 32, 19) if kind else (20, 23, 19)
    assert organ[place] == bool(kind)
    session, _ = session_of(organ, Asked())
    before = session.segment(prompts, rule).labels()
    assert torch.equal(session.segment([*prompts, click(*place, kind=kind)], rule).labels(), before)


VOXELS = st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(0, 39))


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        VOXELS,
        st.tuples(st.integers(0, 1), st.sampled_from(["liver", "spleen"])),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([None, Propagation(starts=2)]),
)
def test_a_click_never_leaves_its_own_voxel_wrong(clicks: dict, rule: Propagation | None) -> None:
    organ = ellipsoid()
    session, _ = session_of(organ, Asked())
    boxes = [{**whole_box(organ), "label": label} for label in ("liver", "spleen")]
    asked = [click(*voxel, kind=kind, label=label) for voxel, (kind, label) in clicks.items()]
    found = session.segment([*boxes, *asked], rule).labels()[0]
    for voxel, (kind, label) in clicks.items():
        assert (int(found[voxel]) == LABELS[label]) == bool(kind)


def test_a_wrong_click_changes_its_neighbourhood_not_the_organ() -> None:
    organ = ellipsoid()
    session, _ = session_of(organ, Asked())
    before = session.segment([whole_box(organ)], Propagation()).labels()[0] == 1
    for kind, place in ((0, (32, 32, 19)), (1, (47, 43, 19))):
        prompts = [whole_box(organ), click(*place, kind=kind)]
        after = session.segment(prompts, Propagation()).labels()[0] == 1
        changed = torch.nonzero(after != before)
        assert (changed[:, 2] == 19).all()
        assert len(changed)
        if not kind:
            assert (changed - torch.tensor(place)).abs().max() <= 4
        shown = (found[..., 19].numpy() for found in (after, before))
        right, was = (dice(slice_, organ[..., 19]) for slice_ in shown)
        assert right > was - 0.03


def test_background_points_alone_are_refused_and_contradictions_too() -> None:
    organ = ellipsoid()
    session, _ = session_of(organ)
    with pytest.raises(InputError, match="'liver' has background points only"):
        session.targets([click(1, 2, 3, kind=0), {**whole_box(organ), "label": "spleen"}])
    for other in (click(1, 2, 3, kind=0), click(1, 2, 3, label="spleen")):
        with pytest.raises(InputError, match="contradict each other"):
            session.targets([whole_box(organ), click(1, 2, 3), other])


def test_a_background_point_belongs_to_the_nearest_object() -> None:
    session, _ = session_of(ellipsoid())
    left, right = ({"label": "kidney", "box": [x, 5, 3, x + 9, 14, 9]} for x in (5, 40))
    targets = session.targets([left, right, click(52, 10, 12, kind=0, label="kidney")])
    assert [list(target.prompts) for target in targets] == [[], [12]]
    assert [sorted(t.on_its_slices()) for t in targets] == [list(range(3, 10))] * 2
    grown = session.targets([right, click(45, 10, 12, label="kidney")])
    assert [target.span for target in grown] == [(3, 12)]


def test_a_session_is_freed_without_the_garbage_collector() -> None:
    organ = ellipsoid()
    session, _ = session_of(organ)
    alive = weakref.ref(session)
    gc.disable()
    try:
        session.segment([whole_box(organ)], Propagation())
        del session
        assert alive() is None
    finally:
        gc.enable()


def test_unknown_plane_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'axial'"):
        VolumeInferer(backbone_named("tiny"), LABELS, plane="axal")
    with pytest.raises(InputError, match="did you mean 'coronal'"):
        VolumeSession(volume_of(ellipsoid()), Bright(), backbone_named("tiny"), LABELS, "coronl")


def test_object_of_several_boxes_is_limited_by_them() -> None:
    boxes = {2: [0.0, 10, 20, 30], 6: [4.0, 10, 20, 50]}
    boxed = {k: SlicePrompt(torch.tensor(box)) for k, box in boxes.items()}
    target = Target("liver", {4: SlicePrompt(points=torch.ones(1, 3)), **boxed})
    for k, wanted in {0: boxes[2], 2: boxes[2], 3: [1, 10, 20, 35], 9: boxes[6]}.items():
        assert target.limit(k).tolist() == wanted
    assert Target("liver", {2: boxed[2]}).limit(2) is None
    whole = Target("liver", boxed, box=torch.tensor([1.0, 2, 3, 4]))
    assert whole.limit(4).tolist() == [1, 2, 3, 4]
