"""Values of label volumes: the whole numbers that were meant, or one line."""

import numpy as np
import pytest

from samparser_monai.errors import InputError
from samparser_monai.volumes.organs import whole_labels


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_values_of_every_type_are_those_that_were_meant(kind: type) -> None:
    values = np.array([[0, 1, 3], [4, 255, 2]], kind)
    found = whole_labels(values, "a.nii.gz")
    assert found.dtype == np.uint8
    assert found.tolist() == values.tolist()


def test_values_of_a_file_with_a_scale_factor_are_whole() -> None:
    scaled = np.arange(5, dtype=np.int16) * 8000 * np.float32(1.24999e-4)  # 3 is 2.99998
    assert (scaled != np.arange(5)).any()
    assert whole_labels(scaled, "a.nii.gz").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "fractions"),
        (2.99, "fractions"),
        (np.nan, "fractions"),
        (np.inf, "fractions"),
        (-1, "negative values"),
        (-255, "negative values"),
        (256, "values over 255"),
        (257, "values over 255"),
    ],
)
def test_other_values_are_refused_by_name(value: float, message: str) -> None:
    values = np.array([0, 1, value], np.float64)
    with pytest.raises(InputError, match=rf"a\.nii\.gz holds {message} \({value:g}\)"):
        whole_labels(values, "a.nii.gz")
