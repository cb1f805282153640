"""The tables of what `samparser benchmark` has measured."""

import json

from samparser_monai.studies.tables.runs import RESULTS, markdown


def benchmarks() -> str:
    """Return a section to each result file."""
    runs = {p: json.loads(p.read_text()) for p in sorted(RESULTS.glob("benchmarks/*.json"))}
    text = ""
    if not any("NVIDIA" in run["device"] for run in runs.values()):
        text = "\n## Speed on a GPU\n\nNot yet measured; the commands below measure there too.\n"
    for path, run in runs.items():
        device = f"{run['device']}, {run['threads']} threads, torch {run['torch']}"
        text += f"\n## Speed: {run['kind']}, {run['backbone']}\n\n- device: {device}\n"
        text += f"- {run['note']}\n" if "note" in run else ""
        ratios = [(k, v) for k, v in run.get("ratios", {}).items() if isinstance(v, float)]
        tables = [run.get("rows", []), [{"ratio": k, "value": v} for k, v in ratios]]
        for rows in filter(None, tables):
            cells = [[_cell(row.get(key, "")) for key in rows[0]] for row in rows]
            text += "\n" + markdown([key.replace("_", " ") for key in rows[0]], cells) + "\n"
        command = f"samparser benchmark {run['kind']} --backbone {run['backbone']}"
        text += f"\n    {command} --json results/benchmarks/{path.name}\n"
    return text


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
