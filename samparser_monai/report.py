"""What a run leaves for people: tables, a training curve, overlay pictures."""

import json
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

from samparser_monai.handlers import History
from samparser_monai.methods import count_trainable
from samparser_monai.metrics import OrganDice


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=4) + "\n")
    temporary.replace(path)


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
    """Draw the loss, and the validation DSC where there is one, over the epochs."""
    figure, left = plt.subplots(figsize=(7, 4), layout="constrained")
    left.plot(rows["epoch"], rows["loss"], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss")
    left.yaxis.label.set_color("tab:blue")
    if "dsc" in rows:
        right = left.twinx()
        scores = rows.dropna(subset="dsc")
        right.plot(scores["epoch"], scores["dsc"], "o-", color="tab:orange")
        right.set_ylabel("validation DSC (%)", color="tab:orange")
    figure.savefig(path, dpi=120)
    plt.close(figure)


class KeepPictures:
    """Keep the organ masks of some pictures of an evaluation, evenly over its loader."""

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
            self.kept[number - 1] = engine.state.output["organ_masks"]


def write_comparison(
    output_dir: str | Path,
    published: OrganDice,
    tuned: OrganDice,
    before: KeepPictures,
    after: KeepPictures,
    dataset: Dataset,
) -> None:
    """Write what tuning has changed, and print it.

    ``summary.json``, ``metrics.csv`` and ``metrics.json`` (a row to a case and organ),
    ``slices.csv``, and a picture to each kept slice under ``overlays/``.
    """
    folder = Path(output_dir)
    training = folder / "training.json"
    run = json.loads(training.read_text()) if training.exists() else {}
    summary = {
        "published": rounded(published.summary("slices")),
        "tuned": rounded(tuned.summary("slices")),
        "volumes": {
            "published": rounded(published.summary("cases")),
            "tuned": rounded(tuned.summary("cases")),
        },
        **{k: run.get(k) for k in ("encoder_trainable", "decoder_trainable", "steps", "seconds")},
    }
    write_json(folder / "summary.json", summary)
    both = {"published": published, "tuned": tuned}
    for name in ("cases", "slices"):
        table = pd.concat({k: getattr(m, name)() for k, m in both.items()}, names=["model"])
        table = table.reset_index("model").round(3)
        table.to_csv(folder / f"{'metrics' if name == 'cases' else name}.csv", index=False)
        if name == "cases":
            write_json(folder / "metrics.json", table.to_dict("records"))
    for index in before.kept:
        path = folder / "overlays" / f"{index:04d}.png"
        draw_overlay(picture_of(dataset, index), before.kept[index], after.kept[index], path)
    print(comparison_table(published, tuned))
    print(f"written to {folder.resolve()}: summary.json, metrics.csv, slices.csv, overlays/")


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Round percentages to two digits."""
    return {key: round(value, 2) for key, value in values.items()}


def comparison_table(published: OrganDice, tuned: OrganDice) -> str:
    """Return organ x {SAM as published, tuned} as text, for slices and for volumes."""
    columns = {}
    for over, title in (("slices", "mean over slices"), ("cases", "3-D, mean over cases")):
        columns[title, "published"] = pd.Series(published.summary(over))
        columns[title, "tuned"] = pd.Series(tuned.summary(over))
        columns[title, "gain"] = columns[title, "tuned"] - columns[title, "published"]
    table = pd.DataFrame(columns)
    counts = tuned.slices()["organ"].value_counts()
    table.insert(0, ("", "slices"), counts.reindex(table.index).fillna(counts.sum()).astype(int))
    cases = tuned.slices()["case"].nunique()
    title = f"DSC (%) on {cases} case{'s' * (cases > 1)} that training never saw"
    return f"\n{title}\n{table.to_string(float_format='{:.2f}'.format)}\n"


def picture_of(dataset: Dataset, index: int) -> np.ndarray:
    """Return the windowed picture of a slice item, HxW from 0 to 255."""
    item = dataset.data[index]
    for transform in dataset.transform.flatten().transforms[:2]:
        item = transform(item)
    return np.asarray(item["image"])[0]


def draw_overlay(
    picture: np.ndarray,
    published: list[dict[str, Any]],
    tuned: list[dict[str, Any]],
    path: Path,
) -> None:
    """Draw the outlines of truth (dashed white), and of what each model found, side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
    colors = plt.get_cmap("Set1").colors
    for axis, masks, title in zip(
        axes, (published, tuned), ("SAM as published", "tuned"), strict=True
    ):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        rows = OrganDice()
        rows.update(masks)
        scores = rows.slices()["dsc"]
        for color, found, score in zip(colors, masks, scores, strict=False):
            axis.contour(np.asarray(found["truth"]), [0.5], colors="white", linestyles="dashed")
            if np.asarray(found["prediction"]).any():
                axis.contour(np.asarray(found["prediction"]), [0.5], colors=[color])
            axis.plot([], [], color=color, label=f"{found['organ']} {score:.1f}")
        axis.legend(loc="lower right", title="DSC (%); truth dashed", fontsize=9)
        axis.set_title(f"{title}: {masks[0]['case']}, slice {masks[0]['slice']}")
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
