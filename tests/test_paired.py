"""Studies that choose by a part of their own: parts apart, choices by validation, intervals."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samparser_monai.errors import InputError
from samparser_monai.files import write_json
from samparser_monai.harness import write_run
from samparser_monai.harness.verdict import gains
from samparser_monai.studies import grid
from samparser_monai.studies.tables import pages, paired, paper, studies
from samparser_monai.studies.tables.runs import groups_of
from samparser_monai.training.parts import nested

ITEMS = {
    "train": [{"case": f"c{n}", "patient": f"p{n // 2}"} for n in range(10)],
    "validation": [{"case": "t"}],
}


def test_parts_share_no_patient_and_lose_no_case() -> None:
    parts = nested(ITEMS, 0.4, 3)
    patients = [{item["patient"] for item in parts[p]} for p in ("train", "validation")]
    assert [len(of) for of in patients] == [3, 2] and not set.intersection(*patients)
    assert len(parts["train"]) + len(parts["validation"]) == 10
    assert parts["test"] == ITEMS["validation"]
    assert nested(ITEMS, 0.4, 3) == parts
    assert any(nested(ITEMS, 0.4, seed) != parts for seed in range(5))
    assert nested(ITEMS, 0.0, 3)["validation"] == ITEMS["validation"]


@pytest.mark.parametrize("share", [1.0, -0.1, "half", 2])
def test_share_out_of_range_is_refused(share: Any) -> None:
    with pytest.raises(InputError, match=f"validation_share must be 0, or between .*{share!r}"):
        nested(ITEMS, share, 3)
    with pytest.raises(InputError, match=r"1 patient or picture trains, and a split needs two"):
        nested({**ITEMS, "train": ITEMS["train"][:2]}, 0.5, 3)


def made(method: str, seed: int, shift: float, validation: float, factor: str = "1") -> dict:
    """Return a run whose cases differ much, and from another method's by the shift alone."""
    cases = {f"c{n}": [50.0 + 5 * n + shift] for n in range(8)}
    scores = {"liver": cases, "kidney": {"c1": [80.0 + shift, 60.0 + shift]}}
    return {
        **{"method": method, "decoder": "frozen" if method == "zero_shot" else "tuned"},
        **{"seed": seed, "scores": scores, "validation": validation},
        "options": {} if method == "zero_shot" else {"rate_factor": factor},
        "encoder_trainable": None if method == "zero_shot" else 512,
        "decoder_trainable": 0,
        "tuned": {"mean": shift},
        "published": {"mean": 0.0},
    }


def test_other_seeds_take_what_validated_best_and_not_what_tested_best(tmp_path: Path) -> None:
    first = grid.cells(["coefficients"], ["tuned"], 1, ["rate_factor=0.3,1,3"])
    for factor, shift, validation in (("0.3", 9.0, 70.0), ("1", 5.0, 80.0)):  # 3 has failed
        run = made("coefficients", 0, shift, validation, factor)
        write_run(tmp_path, grid.name_of(run), run)
    rest = grid.chosen(first, tmp_path, ["rate_factor"], 3)
    assert [(cell["options"], cell["seed"]) for cell in rest] == [
        ({"rate_factor": "1"}, 1),
        ({"rate_factor": "1"}, 2),
    ]
    runs = [made("coefficients", 0, 9.0, 70.0, "0.3"), made("coefficients", 0, 5.0, 80.0)]
    (group,) = paired.groups_of(runs, ["rate_factor"])
    assert (group.chosen, group.tried, group.runs) == ("1", ["0.3", "1"], runs[1:])
    assert gains(runs, "coefficients", {}) == {0: 5.0}


def test_intervals_are_of_the_difference() -> None:
    ours, other = ([made(m, s, d, 0) for s in range(3)] for m, d in (("lora", 1.0), ("full", 0.0)))
    bootstrap = paired.Bootstrap(ours[0]["scores"])
    mean, low, high = paired.interval(bootstrap.draws(ours))
    liver = np.mean([[v for (v,) in run["scores"]["liver"].values()] for run in ours])
    assert mean == pytest.approx((liver + 71.0) / 2, rel=1e-9)
    assert low < mean < high and high - low > 2  # cases differ much
    # and yet one is everywhere above the other by 1
    assert paired.interval(bootstrap.draws(ours, other)) == pytest.approx((1.0, 1.0, 1.0), rel=1e-9)
    ours[0] = made("lora", 0, -5.0, 0)
    mean, low, high = paired.interval(bootstrap.draws(ours, other))
    assert mean == pytest.approx(-1.0, rel=1e-9)
    assert low < 0 < high  # by the seeds


def test_table_bolds_what_is_told_apart_and_says_so(tmp_path: Path) -> None:
    for seed in range(2):
        for method, shift in (("zero_shot", 0.0), ("decoder_only", 2.0), ("lora", 2.0 - 4 * seed)):
            run = made(method, seed, shift, 1.0)
            if method != "zero_shot" or not seed:  # once for all seeds
                write_run(tmp_path, grid.name_of(run), run)
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert "| 1 (1) |" in rows["| decoder_only, decoder tuned"]
    assert "**+2.00** [+2.00, +2.00]" in rows["| decoder_only, decoder tuned"]
    assert rows["| lora, decoder tuned"].count("**") == 0
    assert (
        "Beside SAM as published: Above it decoder_only, decoder tuned. Below it nothing." in text
    )
    assert "gain over SAM as published, **+2.00** [+2.00, +2.00], these reach: 512 (lora" in text


def test_what_rests_on_one_score_is_told(tmp_path: Path) -> None:
    runs = [made("zero_shot", 0, 0.0, 1.0)]
    for seed, method in itertools.product((0, 1), ("decoder_only", "lora")):
        run = made(method, seed, 2.0 if method == "decoder_only" else 1.0, 1.0)
        if method == "lora":  # it is above the decoder by what it makes of one case alone
            run["scores"]["liver"]["c2"] = [162.0]
        runs.append(run)
    for run in runs:
        write_run(tmp_path, grid.name_of(run), run)
    groups = paired.groups_of(runs, ["rate_factor"])
    assert paired.counts_most(groups) == ("liver", "c2")
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    one = "The one score that counts most is liver of c2 (SAM as published: 60.0)"
    before, now = text.split(f"**{one}. Without it:**")
    gains = []
    for part in (before, now):
        (row,) = (line for line in part.splitlines() if line.startswith("| lora"))
        gains.append([float(n) for n in re.findall(r"\| \**([+-]\S+?)\** \[", row)])
    assert gains == [pytest.approx([7.3125, 5.3125], abs=0.01), [1, -1]]
    for run in runs[1:]:
        run["scores"]["liver"]["c2"] = [62.0]
        write_run(tmp_path, grid.name_of(run), run)
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    assert "what is told apart is the same without it" in text and "Without it:" not in text


def test_one_seed_tells_nothing_apart(tmp_path: Path) -> None:
    for run in (made("zero_shot", 0, 0.0, 1.0), made("lora", 0, 2.0, 1.0)):
        write_run(tmp_path, grid.name_of(run), run)
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    assert "| +2.00 [+2.00, +2.00] |" in text and "Above it nothing. Below it nothing." in text


def test_run_that_scored_other_cases_is_refused(tmp_path: Path) -> None:
    start, run = made("zero_shot", 0, 0.0, 1.0), made("lora", 0, 2.0, 1.0)
    del run["scores"]["liver"]["c3"]
    for of in (start, run):
        write_run(tmp_path, grid.name_of(of), of)
    with pytest.raises(InputError, match=r"lora, .*seed 0, did not score liver of c3"):
        paired.section_of(tmp_path, {"choose": ["rate_factor"]})


def test_baseline_is_that_of_the_same_setting(tmp_path: Path) -> None:
    gains = {"5": 2.0, "20": -1.0}  # of the decoder alone over SAM as published, which differs too
    runs = []
    for (shift, gain), seed in itertools.product(gains.items(), (0, 1)):
        for method, over in (("zero_shot", 0.0), ("decoder_only", gain), ("lora", gain + 3)):
            run = made(method, seed, over + 10 * float(shift), 1.0)
            run["options"]["box_shift"] = shift
            run["published"] = {"mean": 10 * float(shift)}
            write_run(tmp_path, grid.name_of(run), run)
            runs.append(run)
    groups = paired.by_setting(paired.groups_of(runs, ["rate_factor"]))
    assert [len(alike) for alike in groups] == [3, 3]
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    for shift, gain in gains.items():
        row = rows[f"| lora, decoder tuned, box_shift {shift}"]
        assert [f"{n:+.2f}" for n in (gain + 3, 3)] == re.findall(r"\*\*(\S+)\*\*", row)
    lines = studies.table_of(groups_of(runs)).splitlines()[2:]  # worst first
    over_decoder = [line.split("|")[-2].split(" ±")[0].strip() for line in lines]
    assert over_decoder == ["-2.00", "", "+3.00", "", "+1.00", "+3.00"]


def test_baseline_is_the_best_by_validation() -> None:
    runs = [made("zero_shot", 0, 0.0, 1.0)]
    for epochs, shift, validation in (("1", 9.0, 70.0), ("2", 5.0, 80.0), ("3", 7.0, 60.0)):
        run = made("decoder_only", 0, shift, validation)
        run["options"]["epochs"] = epochs
        runs.append(run)
    (groups,) = paired.by_setting(paired.groups_of(runs, ["rate_factor"]))
    assert paired.baselines_of(groups)["the decoder alone"].runs == [runs[2]]


@pytest.mark.parametrize("neck", [{}, {"space": "neck"}])
def test_baseline_is_of_the_neck(neck: dict[str, str], tmp_path: Path) -> None:
    for options, shift in (({"space": "transformer"}, 1.0), (neck, 3.0), ({"space": "both"}, 4.0)):
        run = made("coefficients", 0, shift, 90.0 - shift)  # the neck's validate below another
        run |= {"decoder": "frozen", "options": {**options, "rate_factor": "1"}}
        for seed in (0, 1):
            write_run(tmp_path, f"{shift}_{seed}", run | {"seed": seed})
    text = paired.section_of(tmp_path, {"choose": ["rate_factor"]})
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| coef")}
    over = {name.split()[-1]: row.split(" | ")[-1] for name, row in rows.items()}
    assert over.pop("transformer") == "**-2.00** [-2.00, -2.00] |"
    assert over.pop("both") == "**+1.00** [+1.00, +1.00] |"
    assert list(over.values()) == [" |"]


def test_lines_that_are_gone_leave_their_rows_out_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    about = {"title": "T", "facts": {}, "command": "samparser compare"}
    for study, chooses in (("a", {}), ("b", {"choose": ["rate_factor"]}), ("c", {})):
        write_json(tmp_path / "results" / study / "about.json", about | chooses)
    for seed in range(2):
        write_run(tmp_path / "results" / "c", f"lora_{seed}", made("lora", seed, 1.0, 1.0))
        run = made(("decoder_only", "lora")[seed], seed, 1.0, 1.0)
        write_run(tmp_path / "results" / "b", grid.name_of(run), run)
    pages.write_pages(tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert text.count("\n## T\n") == 2 and "| decoder_only, decoder tuned | 512 | 1 |" in text
    assert (tmp_path / "results_b.png").exists() and not (tmp_path / "results_a.png").exists()
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1:] for line in told] == [
        [" results/a", " it has no runs yet", " left out"],
        [
            " results/b",
            " lora, decoder tuned has no run of the first seed, which chooses",
            " left out",
        ],
        [
            " results/b",
            " decoder_only, decoder tuned has no run of SAM as published beside it",
            " not drawn",
        ],
    ]


def test_signs_of_the_paper_are_those_of_rates_that_others_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gains = {"zero_shot": 0.0, "decoder_only": 1.0, "lora": 4.0, "coefficients": 2.0}
    for study, few in (("coco", -1), ("coco_chosen", 1)):  # the other way round in few steps
        write_json(tmp_path / "results" / study / "about.json", {"choose": ["rate_factor"]})
        for seed, (method, gain) in itertools.product((0, 1), gains.items()):
            run = made(method, seed, few * gain, 1.0)
            run["options"] = run["options"] if few > 0 else {}
            run["f1"] = {"tuned": {"20": 0.0}}
            if method != "lora" or not seed:
                write_run(tmp_path / "results" / study, f"{method}_{seed}", run)
    assert paper.by_others("coco", "lora", "tuned").endswith("(+3.00 [+3.00, +3.00], 1 seed)")
    assert "(" not in paper.by_others("coco", "decoder_only", "tuned")
    assert not paper.by_others("coco", "fact", "tuned") + paper.by_others("voc", "lora", "tuned")
    (row,) = (line for line in paper.signs().splitlines() if line.startswith("| COCO"))
    few = "+2.00 | no, not told apart from none |"  # one seed of LoRA
    assert row == f"| COCO | -0.3 | -2.00 [-2.00, -2.00] | yes, not told apart from none | {few}"
