"""Names that viewers and people give to organs."""

import pytest
from conftest import LABELS

from samparser_monai.volumes.organ_codes import CODED, code_of
from samparser_monai.volumes.organ_names import organ_named


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        *[(name, "liver") for name in ("Liver", "LIVER ", "livers", "Leber", "hepar", "Foie")],
        *[(name, "kidney") for name in ("left kidney", "kidney_right", "Kidney (L)", "Kidneys")],
        *[(name, "kidney") for name in ("leftKidney", "RT_KIDNEY", "Niere links", "riñón", "REN")],
        *[(name, "spleen") for name in ("Spleen", "Milz", "spleens", "spleen-")],
        *[(name, "pancreas") for name in ("Pancréas", "pankreas", "Bauchspeicheldrüse")],
        *[(name, None) for name in ("Segment_3", "liver tumour", "Liver segment 4", "", "left")],
        *[(name, None) for name in ("kidney cyst", "adrenal gland left", "liver and spleen", "2")],
    ],
)
def test_names_mean_organs(name: str, organ: str | None) -> None:
    assert organ_named(name, LABELS) == organ


def test_sides_matter_where_the_organs_have_them() -> None:
    organs = ["left kidney", "right kidney", "Tumour"]
    assert organ_named("Kidney, Left", organs) == "left kidney"
    assert organ_named("kidney", organs) is None
    assert organ_named("Kidney, Left", ["kidney", *organs]) == "left kidney"
    assert organ_named("tumour", organs) == "Tumour"


def test_organs_have_codes() -> None:
    for organ in ("left kidney", "Niere", "Kidneys"):
        assert code_of(organ) == ("64033007", "SCT", "Kidney")
    assert code_of("liver")[0] == "10200004"
    assert code_of("vena cava inferior")[0] == "64131007"
    for other in ("liver tumour", "Segment_3"):
        assert code_of(other)[1:] == ("SCT", "Organ")
    assert len({code_of(name) for name in CODED}) == len(CODED)
