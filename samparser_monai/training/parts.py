"""Parts of a data set for a study that chooses: what trains, what chooses, what judges."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samparser_monai.errors import InputError

Item = dict[str, Any]


def nested(items: dict[str, Any], share: float, seed: int) -> dict[str, Sequence[Item]]:
    """Return ``train``, ``validation`` and ``test``, none of which has a patient of another.

    Without a share there is no choice to be made: what validates is the test too. With one, what
    the scenario validates by is the test, and part of what trained is the validation.

    Args:
        items: ``train`` and ``validation``, lists of items with a ``case``, and a ``patient`` where
            there are such.
        share: of the patients, or pictures, of ``train`` that validate; 0 for none.
        seed: of their draw.

    Raises:
        InputError: the share is not from 0 to 1, or ``train`` has fewer than two patients.
    """
    train, test = items["train"], items["validation"]
    if not share:
        return {"train": train, "validation": test, "test": test}
    if not isinstance(share, float) or not 0 < share < 1:
        raise InputError(f"validation_share must be 0, or between 0 and 1, not {share!r}")
    owners = sorted({_owner(item) for item in train})
    if len(owners) < 2:
        raise InputError(
            f"validation_share={share}: {len(owners)} patient or picture trains, and a split needs "
            "two: give 0, or more data"
        )
    count = min(max(round(share * len(owners)), 1), len(owners) - 1)
    drawn = set(np.random.default_rng(seed).permutation(owners)[:count])
    return {
        "train": [item for item in train if _owner(item) not in drawn],
        "validation": [item for item in train if _owner(item) in drawn],
        "test": test,
    }


def _owner(item: Item) -> str:
    return str(item.get("patient", item["case"]))
