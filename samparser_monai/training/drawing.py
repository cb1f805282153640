"""Pictures of a run: its curve, and what models found in a picture."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from samparser_monai.files import replacing
from samparser_monai.metrics.scores import Outline


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
        if 0 < len(found) <= len(colors):
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=9)
        axis.set_title(f"{model}: {title} (scores in %, truth dashed)", fontsize=10)
        axis.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)
