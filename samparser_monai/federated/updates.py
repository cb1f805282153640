"""What a site sends after a round: checked against what was agreed, then averaged."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray]

AGREED = (
    "backbone",
    "base_sha256",
    "image_size",
    "mean",
    "std",
    "method",
    "options",
    "scenario",
    "labels",
    "window",
    "names",
)
"""Of a tuned part's metadata, what must be equal on all sites: numbers of others do not fit."""
NAMED = ("named_prompts.tokens", "named_prompts.places")
"""The tensors of the learned prompts: a row to an organ, which not every site has labelled."""
MOST_PLACE_STEP = 1.0
"""How far an organ's place may move beside ``most_step``, in sides of the body's box."""


@dataclass(frozen=True)
class Update:
    """What one site learned in one round.

    Args:
        site: its name, as the engine has authenticated it.
        round: that it belongs to, from 0.
        cases: that it was learned from; the weight in the average.
        steps: what is to be added to each tensor of the tuned part.
        about: the fingerprint of the site's own metadata; where it is another than the
            federation's, the metadata.
        named: of the cases, in how many each organ of the names was labelled; empty without names.
    """

    site: str
    round: Any
    cases: Any
    steps: Any
    about: Any
    named: Any = ()


def agreed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a tuned part's metadata what must be equal on all sites."""
    return {key: about.get(key) for key in AGREED}


def fingerprint(about: Mapping[str, Any]) -> str:
    """Return what stands for equal metadata in a message that is to be small."""
    text = json.dumps(agreed(about), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def disagreement(about: Any, wanted: Mapping[str, Any]) -> str | None:
    """Return in what a site differs from the federation, with the two values; None if in nothing.

    Args:
        about: the site's metadata, or their fingerprint.
        wanted: the federation's metadata.
    """
    if about == fingerprint(wanted):
        return None
    if not isinstance(about, Mapping):
        return "it does not say what its numbers belong to"
    told = [
        f"{key} is {about.get(key)!r}, the federation's is {wanted.get(key)!r}"
        for key in AGREED
        if about.get(key) != wanted.get(key)
    ]
    return "; ".join(told) or None


def refusal(
    update: Update,
    tensors: Tensors,
    wanted: Mapping[str, Any],
    round: int,
    most_step: float,
) -> str | None:
    """Return why an update must be left out of the average; None where it is sound.

    Args:
        update: as it came; nothing of it is trusted.
        tensors: of the tuned part that the round began with.
        wanted: what was agreed.
        round: that is running.
        most_step: the largest size of a number in ``update.steps``.
    """
    if reason := disagreement(update.about, wanted):
        return reason
    if update.round != round:
        return f"it is of round {update.round}, this is round {round}"
    if not _is_count(update.cases) or update.cases < 1:
        return f"it was learned from {update.cases!r} cases, which is no count"
    organs = len(tensors.get(NAMED[0], ()))
    counts = update.named if isinstance(update.named, list | tuple) else [None]
    if len(counts) != organs or not all(_is_count(n) and n <= update.cases for n in counts):
        return f"named={update.named!r} is no count of its {update.cases} cases to {organs} names"
    if not isinstance(update.steps, Mapping) or set(update.steps) != set(tensors):
        return f"it has other tensors than the {len(tensors)} of the tuned part"
    for name, wanted_tensor in tensors.items():
        step = update.steps[name]
        if not isinstance(step, np.ndarray) or step.dtype.kind != "f":
            return f"{name} is no array of floating point numbers"
        if step.shape != wanted_tensor.shape:
            return f"{name} is of shape {step.shape}, not {wanted_tensor.shape}"
        if not np.isfinite(step).all():
            return f"{name} holds numbers that are not finite"
        most = most_step + MOST_PLACE_STEP * (name == NAMED[1])
        if (largest := float(np.abs(step).max(initial=0))) > most:
            return f"{name} has a step of {largest:.3g}, above most_step={most:g}"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def average(updates: Sequence[Update], tensors: Tensors, most_cases: int) -> dict[str, np.ndarray]:
    """Return the mean of sound updates, weighted by cases; zeros where there are none.

    A relative step is averaged as a step: p = p0 (1 + s), and s is what is sent. A learned prompt
    is averaged over the sites that have labelled its organ, by their cases with it.

    Args:
        updates: see refusal.
        tensors: of the tuned part, for names, shapes and types.
        most_cases: what a site may weigh at most, whatever it says.
    """
    mean = {}
    for name, tensor in tensors.items():
        rows = tensor.shape[:1] if name in NAMED else ()
        counts = np.array([u.named if rows else u.cases for u in updates], float)
        weights = np.minimum(counts, most_cases).reshape(len(updates), *rows)
        weights /= np.maximum(weights.sum(0), 1)
        steps = [update.steps[name].astype(np.float64) for update in updates]
        total = sum((step.T * w).T for step, w in zip(steps, weights, strict=True))
        mean[name] = np.broadcast_to(total, tensor.shape).astype(tensor.dtype)
    return mean
