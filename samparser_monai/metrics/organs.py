"""The Dice similarity coefficient (DSC) of organs, over slices and over cases."""

import numpy as np
import pandas as pd
from ignite.metrics.metric import reinit__is_reduced

from samparser_monai.metrics.scores import Counted, Masks, Outline, dice, gathered, of_boxes


class OrganDice(Counted):
    """DSC in percent of each organ: as the mean over slices, and in 3-D for each case.

    The 3-D figure adds up the pixels of a case's slices before it divides, so it is that of the
    reassembled volume. Its value, for choosing the best epoch, is the mean over organs of the
    mean over slices; ``tables`` has the rest. What was asked by name counts for that value; every
    other mean is of boxes, if there are any.

    It is updated with lists of {case, slice, organ, prediction, truth, by_name?}, masks HxW.
    """

    @reinit__is_reduced
    def update(self, output: Masks) -> None:
        """Count the pixels of some slices' organs."""
        for masks in output:
            prediction, truth = np.asarray(masks["prediction"]), np.asarray(masks["truth"])
            self.rows.append(
                {
                    **{key: masks[key] for key in ("case", "slice", "organ")},
                    "by_name": masks.get("by_name", False),
                    "both": int((prediction & truth).sum()),
                    "sizes": int(prediction.sum() + truth.sum()),
                }
            )

    def slices(self) -> pd.DataFrame:
        """Return a row to a slice and organ of all processes: case, slice, organ, ..., dsc."""
        columns = ["case", "slice", "organ", "by_name", "both", "sizes"]
        table = pd.DataFrame(gathered(self.rows), columns=columns)
        table = table.drop_duplicates(["case", "slice", "organ"])  # shares are of equal length
        return table.assign(dsc=dice(table["both"], table["sizes"]))

    def cases(self) -> pd.DataFrame:
        """Return a row to a case and organ: slices, dsc in 3-D and as the mean over slices."""
        groups = self.slices().groupby(["case", "organ"], sort=False)
        table = groups.agg(
            slices=("slice", "size"),
            both=("both", "sum"),
            sizes=("sizes", "sum"),
            dsc_slices=("dsc", "mean"),
            by_name=("by_name", "first"),
        ).reset_index()
        table.insert(3, "dsc", dice(table.pop("both"), table.pop("sizes")))
        return table

    def summary(self, over: str = "slices") -> dict[str, float]:
        """Return the DSC to an organ, and ``mean`` over the organs that occur.

        Args:
            over: ``slices``: the mean over all slices; ``cases``: over the 3-D DSC of the cases.
        """
        table = self.slices() if over == "slices" else self.cases()
        organs = table.groupby("organ", sort=False)["dsc"].mean()
        boxed = of_boxes(table).groupby("organ", sort=False)["dsc"].mean()
        return {**organs.to_dict(), "mean": float(boxed.mean())}

    def compute(self) -> float:
        """Return the mean score in percent, by which the best epoch is chosen."""
        return float(self.slices().groupby("organ")["dsc"].mean().mean())

    def averages(self) -> dict[str, float]:
        """Return the mean DSC over organs: of slices, and of volumes."""
        return {"dsc": self.summary()["mean"], "dsc_volumes": self.summary("cases")["mean"]}

    def sections(self) -> dict[str, dict[str, float]]:
        """Return the DSC of volumes, and standard deviations over the cases.

        They are those of a case's 3-D DSC and of its mean over slices; an organ that one case
        alone shows has none.
        """
        by_organ = self.cases().groupby("organ", sort=False)[["dsc", "dsc_slices"]].std().dropna()
        return {
            "volumes": self.summary("cases"),
            "volumes_sd": by_organ["dsc"].to_dict(),
            "slices_sd": by_organ["dsc_slices"].to_dict(),
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return ``metrics`` (a row to a case and organ) and ``slices``."""
        found = {"metrics": self.cases(), "slices": self.slices()}
        return {name: table.drop(columns="by_name") for name, table in found.items()}

    def overview(self) -> tuple[str, pd.Series, dict[str, pd.Series]]:
        """Return a title, the slices of each organ, and the columns of a printed table."""
        slices = self.slices()
        cases = slices["case"].nunique()
        title = f"DSC (%) on {cases} case{'s' * (cases > 1)} held out"
        columns = {
            "mean over slices": pd.Series(self.summary()),
            "3-D, mean over cases": pd.Series(self.summary("cases")),
        }
        return title, slices["organ"].value_counts().rename("slices"), columns

    def outlines(self, judged: Masks) -> tuple[str, list[Outline]]:
        """Return a title and the outlines of a slice's organs."""
        one = OrganDice()
        one.update(judged)
        found = [
            Outline(m["organ"], score, np.asarray(m["prediction"]), np.asarray(m["truth"]))
            for m, score in zip(judged, one.slices()["dsc"], strict=True)
        ]
        return f"{judged[0]['case']}, slice {judged[0]['slice']}", found
