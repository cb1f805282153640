"""Where the time of a cached step of training goes."""

from collections.abc import Iterator
from statistics import median
from typing import Any

from samparser_monai import methods
from samparser_monai.sam import SamNetwork, architecture
from samparser_monai.studies.benchmarks.timing import DEVICE, once
from samparser_monai.studies.benchmarks.training import Step

METHODS = ("coefficients", "decoder_only")
REPEATS = 9


def step(name: str) -> dict[str, Any]:
    """Time the parts of a cached step with 1 and 4 boxes; of decoder_only the neck is cached too.

    The methods take turns, so that what else the machine does falls on both.
    """
    networks = {m: getattr(methods, m)(architecture(name)).to(DEVICE).train() for m in METHODS}
    rows, ratios = [], {}
    for boxes in (1, 4):
        works = {method: _parts(network, boxes) for method, network in networks.items()}
        rounds = [{m: next(work) for m, work in works.items()} for _ in range(REPEATS + 1)][1:]
        total = {}
        for method in METHODS:
            parts = {part: median(r[method][part] for r in rounds) for part in rounds[0][method]}
            total[method] = sum(parts.values())
            shown = {f"{part}, ms": 1000 * time for part, time in parts.items()}
            rows.append({"method": method, "boxes": boxes, **shown, "ms": 1000 * total[method]})
        ratios[f"vs_decoder_only_{boxes}box"] = total["coefficients"] / total["decoder_only"]
    return {"rows": rows, "ratios": ratios}


def _parts(network: SamNetwork, boxes: int) -> Iterator[dict[str, float]]:
    """Do one step after the other and give the seconds of each one's parts."""
    made = Step(network, True, boxes)
    state: dict[str, Any] = {}

    def neck() -> None:
        made.optimizer.zero_grad()
        assert made.features is not None
        state["embedding"] = network.embed(made.features)
        state["cut"] = state["embedding"].detach().requires_grad_()

    def decoder() -> None:
        state["logits"] = network.decode(state["cut"], made.prompts)[0]

    def loss() -> None:
        state["loss"] = made.loss(state["logits"], made.label)

    def decoder_back() -> None:
        state["loss"].backward()

    def neck_back() -> None:
        if state["embedding"].requires_grad:
            state["embedding"].backward(state["cut"].grad)

    works = (neck, decoder, loss, decoder_back, neck_back, made.optimizer.step)
    names = ("neck", "decoder", "loss", "decoder back", "neck back", "optimizer")
    while True:
        yield {name: once(work) for name, work in zip(names, works, strict=True)}
