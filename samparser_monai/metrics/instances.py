"""IoU and F1 of single instances that boxes have asked for, and their averages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from ignite.metrics.metric import reinit__is_reduced
from pycocotools import mask as coco

from samparser_monai.metrics.scores import Counted, Outline, dice, gathered, of_boxes


class InstanceScores(Counted):
    """IoU and F1 in percent of each instance against its own mask.

    Its value, for choosing the best epoch, is the mIoU: the mean over all instances. F1 is the
    Dice coefficient of an instance, and averaged in the same way. What was asked by name counts
    for that value; every other mean is of boxes, if there are any.

    It is updated with lists of {case, instance, label, prediction, truth, by_name?}, masks as run
    lengths.
    """

    @reinit__is_reduced
    def update(self, output: Sequence[dict[str, Any]]) -> None:
        """Count the pixels of some instances."""
        for instance in output:
            prediction, truth = instance["prediction"], instance["truth"]
            both = coco.merge([prediction, truth], intersect=True)
            self.rows.append(
                {
                    **{key: instance[key] for key in ("case", "instance", "label")},
                    "by_name": instance.get("by_name", False),
                    "both": int(coco.area(both)),
                    "sizes": int(coco.area(prediction)) + int(coco.area(truth)),
                }
            )

    def instances(self) -> pd.DataFrame:
        """Return a row to an instance of all processes: case, instance, label, ..., iou, f1."""
        table = pd.DataFrame(
            gathered(self.rows),
            columns=["case", "instance", "label", "by_name", "both", "sizes"],
        ).drop_duplicates(["case", "instance"])  # shares are of equal length
        union = table["sizes"] - table["both"]
        return table.assign(iou=100 * table["both"] / union, f1=dice(table["both"], table["sizes"]))

    def summary(self) -> dict[str, float]:
        """Return the mIoU of each category, and ``mean``, that over all instances."""
        table = self.instances()
        categories = table.groupby("label")["iou"].mean()
        return {**categories.to_dict(), "mean": float(of_boxes(table)["iou"].mean())}

    def compute(self) -> float:
        """Return the mean score in percent, by which the best epoch is chosen."""
        return float(self.instances()["iou"].mean())

    def averages(self) -> dict[str, float]:
        """Return mIoU and F1 as the mean over instances, over pictures and over categories."""
        table = of_boxes(self.instances())
        found = {}
        for name, column in (("miou", "iou"), ("f1", "f1")):
            found[name] = float(table[column].mean())
            for over, key in (("pictures", "case"), ("categories", "label")):
                found[f"{name}_over_{over}"] = float(table.groupby(key)[column].mean().mean())
        return found

    def sections(self) -> dict[str, dict[str, float]]:
        """Return what a summary has beside the averages: nothing."""
        return {}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return ``metrics`` (a row to a category) and ``instances``."""
        table = self.instances()
        groups = table.groupby("label").agg(
            instances=("case", "size"),
            pictures=("case", "nunique"),
            miou=("iou", "mean"),
            f1=("f1", "mean"),
        )
        return {
            "metrics": groups.reset_index(),
            "instances": table.drop(columns=["by_name", "both", "sizes"]),
        }

    def overview(self) -> tuple[str, pd.Series, dict[str, pd.Series]]:
        """Return a title, the instances of each category, and the columns of a printed table."""
        table = self.instances()
        groups = table.groupby("label")
        means = groups[["iou", "f1"]].mean()
        boxed = of_boxes(table)
        means.loc["mean"] = boxed[["iou", "f1"]].mean()
        pictures = table["case"].nunique()
        title = f"{len(boxed)} instances in {pictures} held-out pictures, averaged over instances"
        columns = {"mIoU (%)": means["iou"], "F1 (%)": means["f1"]}
        return title, groups.size().rename("instances"), columns

    def outlines(self, judged: Sequence[dict[str, Any]]) -> tuple[str, list[Outline]]:
        """Return a title and the outlines of a picture's instances."""
        one = InstanceScores()
        one.update(judged)
        scores = one.instances()["iou"]
        found = [
            Outline(
                instance["label"],
                score,
                *(coco.decode(instance[key]).astype(bool) for key in ("prediction", "truth")),
            )
            for instance, score in zip(judged, scores, strict=True)
        ]
        return f"{judged[0]['case']}: mIoU {np.mean(scores):.1f} %", found
