"""What judges a model may not have trained it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from samparser_monai.errors import InputError
from samparser_monai.files import read_json
from samparser_monai.states import mark_of

Item = Mapping[str, Any]


def marks_of(items: Iterable[Item]) -> list[str]:
    """Return what the images of items are known by, also in a copy; a training's run.json has it.

    Args:
        items: {image: path}.
    """
    found = set()
    for item in items:
        with suppress(OSError):  # its reader says why it cannot be read
            found.add(mark_of(Path(item["image"])))
    return sorted(found)


def check_unseen(model: str | Path, items: Sequence[Item]) -> None:
    """Raise an InputError where one of the items that judge a model has trained it.

    Args:
        model: file of the model or tuned part; the ``run.json`` beside it tells of its training,
            without which nothing is known.
        items: {case, image}, see marks_of.
    """
    path = Path(model).with_name("run.json")
    told = read_json(path).get("options", {}) if path.is_file() else {}
    trained = set(told.get("trained", ()))
    seen = [item for item in items if trained and trained.intersection(marks_of([item]))]
    if seen:
        raise InputError(
            f"{len(seen)} of the {len(items)} cases that judge {model} have trained it, the first "
            f"is {seen[0]['case']!r}: give the --seed and data of its training, or a datalist "
            "whose validation it has not seen"
        )
