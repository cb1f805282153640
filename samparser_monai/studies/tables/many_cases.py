"""The section about many cases over processes that are killed."""

from samparser_monai.studies.tables.runs import RESULTS, markdown, runs_of


def many_cases() -> str:
    """Return the section; without results nothing."""
    runs = runs_of(RESULTS / "many_cases")
    if not runs:
        return ""
    rows = []
    for run in runs:
        figures = [run[key] for key in ("by", "cases", "done_when_killed", "done")]
        equal = ["yes" if run[key] else "no" for key in ("tables_equal", "volumes_equal")]
        rows.append([*map(str, figures), *equal, f"{run['seconds_of_one']}", f"{run['seconds']}"])
    columns = ["four processes by", "cases", "done when two were killed and the rest had ended"]
    columns += ["done after a resume", "cases.csv as one process's but for its seconds"]
    columns += ["label volumes as one process's", "seconds of one process", "of both runs"]
    return f"""
## Many cases, two of four processes killed

Synthetic volumes of 64 x 64 x 6 and the tiny backbone, on two cores that others used too. When a
third of the cases were done two processes were killed; then the same command was run again.

    python scripts/many_cases.py FOLDER

{markdown(columns, rows)}
"""
