"""What a rule asks a session for, and several rules that ask in step."""

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

from torch import Tensor

from samparser_monai.volumes.segmentation import Mask
from samparser_monai.volumes.targets import SlicePrompt

T = TypeVar("T")


class Ask(NamedTuple):
    """A prompt on slice ``k``, perhaps with a mask prompt (hxw, logits).

    With ``name``, a place among the organs that the network knows by name, that is asked too, and
    the prompt's box is the body's.
    """

    k: int
    label: str
    prompt: SlicePrompt
    logits: Tensor | None = None
    name: int | None = None

    @property
    def kind(self) -> tuple[bool, int, bool]:
        """What prompts of one pass of the decoder have in common: a box, so many points, a name."""
        points = self.prompt.points
        count = 0 if points is None else len(points)
        return self.prompt.box is not None, count, self.name is not None


Asking = Generator[list[Ask], list[Mask], T]
"""A rule at work: it gives prompts, is sent their masks, and returns what it has found."""


def together(rules: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Let several rules go on in step: what they ask for at one time is asked at once."""
    found: dict[int, T] = {}
    masks: list[Mask] = []
    asked: dict[int, list[Ask]] = {n: [] for n in range(len(rules))}
    begun = False
    while asked:
        for n, asks in list(asked.items()):
            own, masks = masks[: len(asks)], masks[len(asks) :]
            try:
                asked[n] = rules[n].send(own) if begun else next(rules[n])
            except StopIteration as end:
                found[n] = end.value
                del asked[n]
        begun = True
        if asked:
            masks = yield [ask for asks in asked.values() for ask in asks]
    return [found[n] for n in range(len(rules))]
