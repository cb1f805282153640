"""What a run leaves for people: tables, a training curve, overlay pictures."""

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.data import Dataset
from torch import nn

from samparser_monai.errors import at_least
from samparser_monai.files import replacing, write_json
from samparser_monai.methods import count_trainable
from samparser_monai.metrics.scores import Outline, Scores
from samparser_monai.training.handlers import History


class TrainingReport:
    """Keep the history of a training; at its end write ``training.json`` and ``curve.png``."""

    def __init__(self, output_dir: str | Path, network: nn.Module, history: History) -> None:
        self.folder, self.network, self.history = Path(output_dir), network, history

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer; attach it behind validation and before what saves the state."""
        self.history.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    @idist.one_rank_only()
    def __call__(self, engine: Engine) -> None:
        """Write the files."""
        counts = count_trainable(self.network)
        write_json(
            self.folder / "training.json",
            {
                "encoder_trainable": counts["encoder"],
                "decoder_trainable": counts["decoder"],
                "steps": engine.state.iteration,
                "seconds": round(self.history.seconds, 1),
                "epochs": self.history.rows,
            },
        )
        plot_history(pd.DataFrame(self.history.rows), self.folder / "curve.png")


def plot_history(rows: pd.DataFrame, path: Path) -> None:
    """Draw the loss, and the validation score where there is one, over the epochs."""
    figure, left = plt.subplots(figsize=(7, 4), layout="constrained")
    left.plot(rows["epoch"], rows["loss"], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    left.yaxis.label.set_color("tab:blue")
    for score in rows.columns.difference(["epoch", "loss"]):
        right = left.twinx()
        scores = rows.dropna(subset=score)
        right.plot(scores["epoch"], scores[score], "o-", color="tab:orange")
        right.set_ylabel(f"validation {score} (%)", color="tab:orange")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


class KeepPictures:
    """Keep the masks of some pictures of an evaluation, evenly over its loader."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: dict[int, list[dict[str, Any]]] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep the masks of this batch if it is one of the chosen."""
        number, length = engine.state.iteration, engine.state.epoch_length
        if number in np.linspace(1, length, min(self.count, length)).round():
            self.kept[number - 1] = engine.state.output["judged"]


class BoxShifts:
    """Run an evaluator on boxes that are more or less loose, and keep the averages of each.

    Args:
        evaluator: of the model as it is then.
        metric: of the evaluator.
        loosen: the LoosenBoxesd of its transforms; the distance that it has comes last, so that
            metric and pictures are left with that one.
        shifts: the other distances.
    """

    def __init__(
        self, evaluator: Engine, metric: Scores, loosen: Any, shifts: Sequence[float]
    ) -> None:
        at_least(0.0, **{f"box_shifts[{n}]": shift for n, shift in enumerate(shifts)})
        self.evaluator, self.metric, self.loosen = evaluator, metric, loosen
        self.shifts = [*(s for s in shifts if s != loosen.distance), loosen.distance]

    def run(self) -> dict[str, dict[str, float]]:
        """Return each average by the distance: {"miou": {"0": ..., "20": ...}, ...}."""
        found: dict[str, dict[float, float]] = defaultdict(dict)
        for shift in self.shifts:
            self.loosen.distance = shift
            self.evaluator.run()
            for name, value in rounded(self.metric.averages()).items():
                found[name][shift] = value
        return {n: {f"{s:g}": of[s] for s in sorted(of)} for n, of in found.items()}


def write_comparison(
    output_dir: str | Path,
    published: BoxShifts | None,
    tuned: BoxShifts,
    before: KeepPictures,
    after: KeepPictures,
    dataset: Dataset,
    **about: Any,
) -> None:
    """Evaluate both models, write what tuning has changed, and print it.

    ``summary.json``, the metric's tables as ``*.csv``, its ``metrics`` also as JSON, and each kept
    picture under ``overlays/``. Without the published model, whose figures are known already, the
    tuned one alone, and no pictures.
    """
    folder = Path(output_dir)
    training = folder / "training.json"
    run = json.loads(training.read_text()) if training.exists() else {}
    runs = {"tuned": tuned} if published is None else {"published": published, "tuned": tuned}
    averages = {model: shifts.run() for model, shifts in runs.items()}
    both = {model: shifts.metric for model, shifts in runs.items()}
    sections = {model: metric.sections() for model, metric in both.items()}
    summary = {
        **{model: rounded(metric.summary()) for model, metric in both.items()},
        **{
            name: {model: rounded(sections[model][name]) for model in both}
            for name in sections["tuned"]
        },
        **{name: {model: averages[model][name] for model in both} for name in averages["tuned"]},
        **{k: run.get(k) for k in ("encoder_trainable", "decoder_trainable", "steps", "seconds")},
        **about,
    }
    write_json(folder / "summary.json", summary)
    tables = {model: metric.tables() for model, metric in both.items()}
    for name in tables["tuned"]:
        table = pd.concat({model: tables[model][name] for model in both}, names=["model"])
        table = table.reset_index("model").round(3)
        with replacing(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
        if name == "metrics":
            write_json(folder / "metrics.json", table.to_dict("records"))
    for index in before.kept:
        path = folder / "overlays" / f"{index:04d}.png"
        kept = {"published": before.kept[index], "tuned": after.kept[index]}
        outlines = [metric.outlines(kept[model]) for model, metric in both.items()]
        draw_overlay(picture_of(dataset, index), outlines, path)
    if published is not None:
        print(comparison_table(**both))
    files = [*(f"{name}.csv" for name in tables["tuned"]), "overlays/"]
    print(f"written to {folder.resolve()}: summary.json, {', '.join(files)}")


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Round percentages to two digits."""
    return {key: round(value, 2) for key, value in values.items()}


def comparison_table(published: Scores, tuned: Scores) -> str:
    """Return what was scored x {SAM as published, tuned} as text."""
    title, counts, after = tuned.overview()
    _, _, before = published.overview()
    columns = {}
    for name in after:
        columns[name, "published"], columns[name, "tuned"] = before[name], after[name]
        columns[name, "gain"] = after[name] - before[name]
    table = pd.DataFrame(columns)
    known = counts.reindex(table.index).fillna(counts.sum()).astype(int)
    table.insert(0, ("", str(counts.name)), known)
    return f"\n{title}\n{table.to_string(float_format='{:.2f}'.format)}\n"


def picture_of(dataset: Dataset, index: int) -> np.ndarray:
    """Return the picture of an item as it is before the model's frame, CxHxW from 0 to 255."""
    item = dataset.data[index]
    for transform in dataset.transform.flatten().transforms[:2]:
        item = transform(item)
    return np.asarray(item["image"])


def draw_overlay(
    picture: np.ndarray, outlines: Sequence[tuple[str, Sequence[Outline]]], path: Path
) -> None:
    """Draw the outlines of truth (dashed white), and of what each model found, side by side.

    Args:
        picture: CxHxW, from 0 to 255.
        outlines: of the published and of the tuned model, each with a title.
        path: of the PNG file.
    """
    height, width = picture.shape[-2:]
    side = min(max(6 * height / width, 1.5), 12)
    figure, axes = plt.subplots(1, 2, figsize=(12, side + 0.8), layout="constrained")
    colors = plt.get_cmap("Set1").colors
    for axis, (title, found), model in zip(
        axes, outlines, ("SAM as published", "tuned"), strict=True
    ):
        axis.imshow(np.moveaxis(picture, 0, -1) / 255, cmap="gray", vmin=0, vmax=1)
        for color, outline in zip(cycle(colors), found, strict=False):
            axis.contour(outline.truth, [0.5], colors="white", linestyles="dashed", linewidths=1)
            if outline.prediction.any():
                axis.contour(outline.prediction, [0.5], colors=[color], linewidths=1.5)
            if len(found) <= len(colors):
                axis.plot([], [], color=color, label=f"{outline.name} {outline.score:.1f}")
        if len(found) <= len(colors):
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=9)
        axis.set_title(f"{model}: {title} (scores in %, truth dashed)", fontsize=10)
        axis.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)
