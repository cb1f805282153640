"""What a run leaves for people: tables, a training curve, overlay pictures."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from monai.data import Dataset
from torch import nn

from samparser_monai.files import replacing, write_json
from samparser_monai.methods import count_trainable
from samparser_monai.metrics.scores import Scores
from samparser_monai.training.comparison import BoxShifts, KeepPictures, rounded
from samparser_monai.training.drawing import draw_overlay, plot_history
from samparser_monai.training.epochs import History


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
                **({"names_trainable": counts["names"]} if "names" in counts else {}),
                "steps": engine.state.iteration,
                "seconds": round(self.history.seconds, 1),
                "epochs": self.history.rows,
            },
        )
        plot_history(pd.DataFrame(self.history.rows), self.folder / "curve.png")


def write_comparison(
    output_dir: str | Path,
    published: BoxShifts | None,
    tuned: BoxShifts,
    before: KeepPictures,
    after: KeepPictures,
    dataset: Dataset,
    load: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    network: nn.Module,
    judged: str | Path | None,
    ckpt_dir: str | Path,
    **about: Any,
) -> None:
    """Evaluate both models, write what tuning has changed, and print it.

    ``summary.json``, the metric's tables as ``*.csv``, its ``metrics`` also as JSON, and each kept
    picture under ``overlays/``. Without the published model, whose figures are known already, the
    tuned one alone, and no pictures. ``load`` reads an item's picture, CxHxW from 0 to 255.

    What is trainable is counted in ``network``; steps and seconds are told where the file that is
    ``judged`` lies in ``ckpt_dir``: the training that ``training.json`` tells of has made it.
    """
    folder = Path(output_dir)
    training = folder / "training.json"
    own = judged is not None and Path(judged).resolve().parent == Path(ckpt_dir).resolve()
    run = json.loads(training.read_text()) if own and training.exists() else {}
    counts = count_trainable(network)
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
        **{f"{part}_trainable": counts[part] for part in ("encoder", "decoder")},
        **{key: run.get(key) for key in ("steps", "seconds")},
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
        outlines = [
            metric.outlines(kept[model]) if kept[model] else ("asked for nothing", [])
            for model, metric in both.items()
        ]
        picture = np.asarray(load(dataset.data[index])["image"])
        draw_overlay(picture, outlines, path)
    if published is not None:
        print(comparison_table(**both))
    files = [*(f"{name}.csv" for name in tables["tuned"]), "overlays/"]
    print(f"written to {folder.resolve()}: summary.json, {', '.join(files)}")


def comparison_table(published: Scores, tuned: Scores) -> str:
    """Return what was scored x {SAM as published, tuned} as text."""
    title, counts, after = tuned.overview()
    _, of_both, before = published.overview()
    columns = {}
    for name in after:
        known = before[name].reindex(after[name].index)  # of names SAM as published knows nothing
        columns[name, "published"], columns[name, "tuned"] = known, after[name]
        columns[name, "gain"] = after[name] - known
    table = pd.DataFrame(columns)
    counted = counts.reindex(table.index).fillna(of_both.sum()).astype(int)
    table.insert(0, ("", str(counts.name)), counted)
    return f"\n{title}\n{table.to_string(float_format='{:.2f}'.format, na_rep='')}\n"
