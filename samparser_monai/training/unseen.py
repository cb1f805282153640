"""What judges a model may not have trained it."""

from collections.abc import Iterable, Mapping, Sequence
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
    return sorted({mark_of(Path(item["image"])) for item in items})


def check_unseen(model: str | Path | None, items: Sequence[Item]) -> None:
    """Raise an InputError where one of the items that judge a model has trained it.

    Args:
        model: file of the model or tuned part; the ``run.json`` beside it tells of its training,
            without which nothing is known. None for SAM as published.
        items: {case, image}, see marks_of.
    """
    path = Path(model or "").with_name("run.json") if model else None
    trained = set(read_json(path)["options"].get("trained", ())) if path and path.is_file() else ()
    seen = [item for item in items if trained and mark_of(Path(item["image"])) in trained]
    if seen:
        raise InputError(
            f"{len(seen)} of the {len(items)} cases that judge {model} have trained it, the first "
            f"is {seen[0]['case']!r}: give the --seed and data of its training, or a datalist "
            "whose validation it has not seen"
        )
