"""What looks unlike an organ is cut from its masks; nothing is added."""

import pytest
import torch
from conftest import workflow

from samparser_monai.errors import InputError
from samparser_monai.volumes.appearance import Appearance, around
from samparser_monai.volumes.propagation import Propagation

ORGAN, MUSCLE, FAT = 130.0, 95.0, 50.0


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a picture, the mask of its organ, and logits that leak into muscle beside it."""
    picture = torch.full((64, 64), FAT)
    picture[10:60, 40:60] = MUSCLE
    organ = torch.zeros(64, 64, dtype=torch.bool)
    organ[16:48, 8:40] = True
    picture[organ] = ORGAN
    leaking = organ * 8.0 - 4.0
    leaking[20:44, 40:46] = 1.0
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 4
    return picture + noise, organ, leaking


def test_a_leak_is_cut_on_its_own_slice_and_on_the_next() -> None:
    picture, organ, logits = scene()
    looks = Appearance([picture], [logits])
    for shift in (0, 3):
        cut = looks.cut(picture.roll(shift, 0), logits.roll(shift, 0)) > 0
        assert (cut & organ.roll(shift, 0)).sum() > 0.98 * organ.sum()
        assert (cut & ~organ.roll(shift, 0)).sum() < 0.02 * organ.sum()


def test_nothing_is_added() -> None:
    picture, organ, _ = scene()
    logits = organ * 8.0 - 4.0
    assert (Appearance([picture], [logits]).cut(picture, logits) <= logits).all()


@pytest.mark.parametrize("filled", [False, True])
def test_masks_without_anything_or_with_everything_leave_masks_as_they_are(filled: bool) -> None:
    picture, organ, _ = scene()
    looks = Appearance([picture], [torch.full((64, 64), 4.0 if filled else -4.0)])
    logits = organ * 8.0 - 4.0
    assert torch.equal(looks.cut(picture, logits), logits)


def test_one_look_beside_the_organ_and_no_weight() -> None:
    picture, organ, logits = scene()
    assert torch.equal(Appearance([picture], [logits], weight=0).cut(picture, logits), logits)
    assert around(organ, 0.25)[8:56, 0:48].all()
    assert around(organ, 0.25).sum() == 48 * 48


@pytest.mark.parametrize("evidence", [0, 0.5])
def test_weight_is_a_key_of_the_config(evidence: float) -> None:
    flow = workflow("infer", "inference", **{"propagate#evidence": evidence})
    flow.initialize()
    assert flow.parser.get_parsed_content("propagate").evidence == evidence


def test_negative_weight() -> None:
    with pytest.raises(InputError, match="evidence must be a number of at least 0, not -1"):
        Propagation(evidence=-1)
