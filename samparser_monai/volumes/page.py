"""One HTML page over many cases, that opens without a server."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from samparser_monai.files import replacing

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 } th, td { padding: .15rem .9rem .15rem 0 }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #bbb }
td.n { text-align: right; font-variant-numeric: tabular-nums }
section { border-top: 1px solid #ddd; padding-top: 1rem; margin-top: 2rem }
img { max-width: 100% } .bad { color: #a40000 } .note { color: #8a5a00 }
</style>
<h1>{{ title }}</h1>
<p>{{ summary }}</p>
{% if totals %}{{ table(totals) }}{% endif %}
{% for case in cases %}
<section id="{{ case.case }}"><h2>{{ case.case }}</h2>
{% if case.error %}<p class="bad">{{ case.error }}</p>{% else %}
{{ table(case.rows) }}
{% for warning in case.warnings %}<p class="note">{{ warning }}</p>{% endfor %}
<img alt="outlines of the organs in {{ case.case }}" src="data:image/png;base64,{{ case.picture }}">
{% endif %}</section>
{% endfor %}</html>
"""
TABLE = """{% macro table(rows) %}<table><tr>
{% for name in rows[0] %}<th>{{ name | replace("iou", "predicted IoU") }}</th>{% endfor %}
</tr>{% for row in rows %}<tr>{% for value in row.values() %}
<td{% if value is number %} class="n"{% endif %}>{{ value if value is not none else "" }}</td>
{% endfor %}</tr>{% endfor %}</table>{% endmacro %}
"""


def write_page(
    path: Path,
    title: str,
    summary: str,
    cases: Iterable[Mapping[str, Any]],
    totals: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page.

    Args:
        path: of the page.
        title: its heading.
        summary: a sentence below it.
        cases: in their order {case, and error, or rows, warnings and picture}, see draw_case; one
            after the other.
        totals: rows over all the cases.
    """
    page = jinja2.Environment(autoescape=True).from_string(TABLE + TEMPLATE)
    with replacing(path) as temporary:  # part by part: a thousand pictures are large
        page.stream(title=title, summary=summary, cases=cases, totals=totals).dump(
            str(temporary), encoding="utf-8"
        )


def draw_case(
    pictures: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray | None,
    organs: Mapping[str, Sequence[int]],
) -> str:
    """Draw outlines on three slices, in the middles of the organs' thirds.

    Args:
        pictures: CxRxS, 0..255, columns first.
        found: CxRxS, the organs' values.
        truth: CxRxS, drawn dashed.
        organs: name -> its values, of which the first is written.

    Returns:
        A PNG picture, base64.
    """
    seen = np.flatnonzero(found.any((0, 1)) | ~found.any())
    slices = sorted({int(np.quantile(seen, q)) for q in (1 / 6, 1 / 2, 5 / 6)})
    figure = Figure(figsize=(4.2 * len(slices), 4.6), layout="constrained")
    axes = figure.subplots(1, len(slices), squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for axis, k in zip(axes[0], slices, strict=True):
        axis.imshow(pictures[:, :, k].T, cmap="gray", vmin=0, vmax=255)
        for n, (name, values) in enumerate(organs.items()):
            value = values[0]
            known = truth is not None and np.isin(truth[:, :, k].T, values)
            if np.any(known):
                axis.contour(known, [0.5], colors="white", linestyles="dashed", linewidths=1)
            if (found[:, :, k] == value).any():
                axis.contour(found[:, :, k].T == value, [0.5], colors=f"C{n % 10}", linewidths=1)
                axis.plot([], [], color=f"C{n % 10}", label=name)
        axis.set_title(f"slice {k + 1} of {found.shape[2]}", y=1)  # else its place is searched for
        axis.set_axis_off()
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="lower right", fontsize=8)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=70)
    return base64.b64encode(file.getvalue()).decode()
