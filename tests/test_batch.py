"""Many cases: broken ones among good ones, killed runs, shares, what is left for people."""

import fcntl
import json
import logging
import os
import re
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import AFFINES, ROOT, ct, read_json, run, save_volume, started, workflow
from monai.data import MetaTensor
from monai.transforms import Compose
from test_inference import Echo

from samparser_monai import methods
from samparser_monai.errors import InputError, root_cause, told
from samparser_monai.files import DiskFull, replacing
from samparser_monai.metrics.surfaces import OrganScores
from samparser_monai.sam import build
from samparser_monai.volumes.batch import CaseDataset
from samparser_monai.volumes.case_report import CaseReport
from samparser_monai.volumes.prompts import COLUMNS as PROMPT_COLUMNS
from samparser_monai.volumes.prompts import read_prompts
from samparser_monai.volumes.propagation import Propagation

BOX = {"label": "liver", "box": [5, 10, 0, 24, 33, 5]}


@pytest.fixture
def options(tmp_path: Path) -> dict:
    torch.save(Echo().state_dict(), tmp_path / "echo.pt")
    return {
        "bundle_root": str(tmp_path),
        "backbone": "tiny",
        "network_def": Echo(),
        "model_file": str(tmp_path / "echo.pt"),
        "dataset_dir": str(tmp_path / "in"),
        "output_dir": str(tmp_path / "out"),
        "prompts": str(tmp_path / "prompts.json"),
        "propagate": None,
    }


def infer(options: dict, **more: object) -> str:
    """Run a batch and return the line by which it fails, if it does."""
    try:
        run("infer", "inference", run_id="inference", **options, **more)
    except Exception as error:
        cause = root_cause(error)
        assert cause is not None, error
        return str(cause)
    return ""


def write_prompts(folder: Path, *cases: str, prompts: list | None = None) -> None:
    found = {case: prompts or [BOX] for case in cases}
    (folder / "prompts.json").write_text(json.dumps(found))


def test_broken_cases_are_reported_and_good_ones_go_on(tmp_path: Path, options: dict) -> None:
    image, folder = ct(0)[0], tmp_path / "in"
    broken = {
        "four_d": (np.stack([image, image], -1), "not one 3-D volume"),
        "not_finite": (np.where(image > 100, np.nan, image.astype(float)), "NaN or infinite"),
        "windowed": (np.clip(image + 128, 0, 255).astype(np.uint8), "windowed already"),
        "small": (image[:20], "leaves the volume"),
    }
    for case, (values, _) in broken.items():
        save_volume(folder / f"{case}.nii.gz", values)
    (folder / "empty").mkdir()
    save_volume(folder / "cut.nii.gz", image)
    (folder / "cut.nii.gz").write_bytes((folder / "cut.nii.gz").read_bytes()[:4000])
    save_volume(folder / "good.nii.gz", image)
    save_volume(folder / "unasked.nii.gz", image)
    write_prompts(tmp_path, *broken, "empty", "cut", "good", "misspelt")
    failure = infer(options)
    assert failure.startswith("8 of 9 cases failed")
    table = pd.read_csv(tmp_path / "out" / "cases.csv").set_index("case").fillna("")
    wanted = {case: message for case, (_, message) in broken.items()}
    wanted |= {"empty": "0 DICOM series", "cut": "cannot be read", "unasked": "has no prompt"}
    wanted |= {"misspelt": "unknown case", "good": "^$"}
    for case, message in wanted.items():
        assert re.search(message, table.loc[case, "error"]), case
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["good.nii.gz"]
    assert table.loc["good", "ml"] == round(20 * 24 * 6 * 0.8 * 0.8 * 3 / 1000, 1)
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<section") == 9
    assert page.count("data:image/png;base64,") == 1
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # opens without a server


def test_resume_does_only_what_is_left(tmp_path: Path, options: dict) -> None:
    for case in "abc":
        save_volume(tmp_path / "in" / f"{case}.nii.gz", ct(0)[0])
    write_prompts(tmp_path, "a", "b", "c")
    assert not infer(options)
    out = tmp_path / "out"
    before = (out / "a.nii.gz").stat().st_mtime_ns
    (out / "records" / "b.json").unlink()  # killed between the volume and its record
    (out / "c.nii.gz").unlink()
    (out / "b.nii.gz").write_bytes(b"")
    assert not infer(options, resume=True)
    assert (out / "a.nii.gz").stat().st_mtime_ns == before
    assert all(nib.load(out / f"{case}.nii.gz").get_fdata().any() for case in "bc")
    assert len(pd.read_csv(out / "cases.csv")) == 3
    other = os.open(out, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert "another run writes to" in infer(options)
    os.close(other)
    told = infer({**options, "propagate": {"_target_": "builtins.dict", "a": 1}}, resume=True)
    assert "made otherwise: options.propagate" in told
    told = infer(options, resume=True, plane="axial")
    assert "made otherwise: options.plane was acquisition, is axial; ask for the same" in told


def test_resume_does_again_what_was_made_of_other_files_or_prompts(
    tmp_path: Path, options: dict, caplog: pytest.LogCaptureFixture
) -> None:
    for case in "abc":
        save_volume(tmp_path / "in" / f"{case}.nii.gz", ct(0)[0])
    write_prompts(tmp_path, "a", "b", "c")
    assert not infer(options)
    out = tmp_path / "out"
    before = {case: nib.load(out / f"{case}.nii.gz").get_fdata() for case in "abc"}
    save_volume(tmp_path / "in" / "a.nii.gz", ct(1)[0][:20])  # another, which the box leaves
    prompts = json.loads((tmp_path / "prompts.json").read_text())
    prompts["b"] = [{**BOX, "label": "spleen"}]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    caplog.set_level(logging.INFO)
    told = infer(options, resume=True)
    assert "1 of 3 cases failed, the first is 'a'" in told
    assert "a.nii.gz that lies there is not its answer" in told
    assert caplog.text.count("was made of other files or prompts: it is done again") == 2
    found = {case: nib.load(out / f"{case}.nii.gz").get_fdata() for case in "bc"}
    assert (found["b"].astype(bool) == before["b"].astype(bool)).all()
    assert found["b"].max() != before["b"].max() and (found["c"] == before["c"]).all()
    assert set(pd.read_csv(out / "cases.csv").set_index("case").loc["b", ["organ"]]) == {"spleen"}


def test_processes_share_the_cases(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    items = [{"case": str(n), "image": "", "prompts": []} for n in range(7)]
    shares = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        shares += [item["case"] for item in CaseDataset(items, None, tmp_path).data]
    assert sorted(shares) == [item["case"] for item in items]


def test_tables_are_written_again_for_a_process_that_has_ended_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def note(*cases: int) -> None:
        for case in cases:
            record = {"case": str(case), "rows": [], "seconds": 1.0}
            (tmp_path / "records" / f"{case}.json").write_text(json.dumps(record))

    def while_others_go_on(folder: Path, records: list[dict], count: int) -> None:
        written.append([int(record["case"]) for record in records])
        note(*arriving.pop(0))

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr("samparser_monai.volumes.case_report.write_tables", while_others_go_on)
    items = [{"case": str(n), "image": "", "prompts": []} for n in range(7)]
    report = CaseReport(tmp_path, CaseDataset(items, None, tmp_path))
    (tmp_path / "records").mkdir()
    note(0, 3, 6, 1)
    written: list[list[int]] = []
    arriving: list[tuple[int, ...]] = [(2,)]  # the third process goes on
    report._finished(None)
    assert written == [[0, 1, 3, 6]]
    arriving = [(4,), ()]  # the second process ends
    report._finished(None)
    assert written[1:] == [[0, 1, 2, 3, 6], [0, 1, 2, 3, 4, 6]]


def test_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert not list(tmp_path.rglob("*"))
    with pytest.raises(DiskFull, match="--resume"), replacing(path):
        raise OSError(28, "No space left on device")
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_evaluation_takes_the_same_road(tmp_path: Path, options: dict) -> None:
    label = np.zeros((48, 40, 6), np.uint8)
    label[5:25, 10:34] = 1
    for case, shift in (("right", 0), ("wrong", 4)):
        save_volume(tmp_path / "in" / "images" / f"{case}.nii.gz", ct(0)[0])
        save_volume(tmp_path / "in" / "labels" / f"{case}.nii.gz", np.roll(label, shift, 0))
    write_prompts(tmp_path, "right", "wrong")
    run("infer", "inference", "evaluate_volumes", run_id="evaluating", **options)
    table = pd.read_csv(tmp_path / "out" / "cases.csv").set_index("case")
    assert table.loc["right", "dsc"] == 100
    assert table.loc["wrong", "dsc"] == pytest.approx(80)
    assert table.loc["wrong", "nsd"] < table.loc["right", "nsd"] == 100
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.index('id="wrong"') < page.index('id="right"')


def test_a_truth_that_cannot_be_compared_fails_its_case_alone(
    tmp_path: Path, options: dict
) -> None:
    label = np.zeros((48, 40, 6), np.uint8)
    label[5:25, 10:34] = 1
    away = AFFINES["LPS"].copy()
    away[0, 3] = 25
    turned = AFFINES["LPS"] @ np.array([[1, 0, 0, 0], [0, -1, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1]])
    truths = {
        "away": (label, away, "lies up to 25.00 mm away"),
        "fractions": (label * 0.9, AFFINES["LPS"], "holds fractions"),
        "shape": (label[:-1], AFFINES["LPS"], "must lie on the same grid"),
        "turned": (label[:, ::-1].copy(), turned, ""),
        "scaled": (label * 0.99999, AFFINES["LPS"], ""),
        "empty": (label * 0, AFFINES["LPS"], ""),
    }
    for case, (values, affine, _) in truths.items():
        save_volume(tmp_path / "in" / "images" / f"{case}.nii.gz", ct(0)[0])
        save_volume(tmp_path / "in" / "labels" / f"{case}.nii.gz", values, affine)
    save_volume(tmp_path / "in" / "images" / "unlabelled.nii.gz", ct(0)[0])
    write_prompts(tmp_path, *truths, "unlabelled")
    with pytest.raises(Exception) as caught:  # MONAI wraps it
        run("infer", "inference", "evaluate_volumes", run_id="evaluating", **options)
    assert str(root_cause(caught.value)).startswith("3 of 7 cases failed")
    table = pd.read_csv(tmp_path / "out" / "cases.csv").set_index("case").fillna("")
    assert len(table) == 7
    for case, (_, _, message) in truths.items():
        assert re.search(message or "^$", table.loc[case, "error"]), case
    assert table.loc[["turned", "scaled", "empty"], "dsc"].tolist() == [100, 100, 0]
    assert "not scored" in table.loc["unlabelled", "warnings"]
    assert (tmp_path / "out" / "index.html").read_text().count("<section") == 7


def test_coarse_masks_are_oriented_or_refused_each_with_its_row(
    tmp_path: Path, options: dict
) -> None:
    label = np.zeros((64, 40, 6), np.uint8)
    label[5:20, 8:30, 1:5] = 1
    turned = AFFINES["LPS"] @ np.array([[1, 0, 0, 0], [0, -1, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1]])
    masks = {
        "plain": (label, AFFINES["LPS"], ""),
        "turned": (label[:, ::-1].copy(), turned, ""),
        "scaled": (label * 1.00001, AFFINES["LPS"], ""),
        "more": (label + 9 * np.roll(label, 30, 0), AFFINES["LPS"], ""),
        "probability": (label * np.float32(0.9), AFFINES["LPS"], "holds fractions"),
        "empty": (label * 0, AFFINES["LPS"], "its values are 0 alone"),
        "other": (label * 7, AFFINES["LPS"], "its values are 7,.*by --labels"),
        "value_257": (label.astype(np.int32) * 257, AFFINES["LPS"], "over 255"),
    }
    for case, (values, affine, _) in masks.items():
        save_volume(tmp_path / "in" / f"{case}.nii.gz", ct(0, label.shape)[0])
        save_volume(tmp_path / "coarse" / f"{case}.nii.gz", values, affine)
    failure = infer({**options, "prompts": str(tmp_path / "coarse")})
    assert failure.startswith("4 of 8 cases failed")
    table = pd.read_csv(tmp_path / "out" / "cases.csv").set_index("case").fillna("")
    for case, (_, _, message) in masks.items():
        assert re.search(message or "^$", table.loc[case, "error"]), case
        if not message:
            found = nib.load(tmp_path / "out" / f"{case}.nii.gz").get_fdata()
            assert np.array_equal(found, label), case
    assert "values that labels do not name" in table.loc["more", "warnings"]


@pytest.mark.parametrize("where", ["in", "in/deeper", ".", "coarse", "models"])
def test_no_input_is_written_to(where: str, tmp_path: Path, options: dict) -> None:
    image = save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    save_volume(tmp_path / "coarse" / "a.nii.gz", ct(0)[1])
    (tmp_path / "models").mkdir()
    torch.save(Echo().state_dict(), tmp_path / "models" / "echo.pt")
    (tmp_path / "prompts").mkdir()
    prompts = tmp_path / "prompts" / "p.json"
    prompts.write_text(json.dumps({"a": [{"mask": "../coarse/a.nii.gz"}]}))
    given = {"model_file": str(tmp_path / "models" / "echo.pt"), "prompts": str(prompts)}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    failure = infer({**options, **given, "output_dir": str(tmp_path / where)})
    assert "must not be written to" in failure
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert image in before


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (["a", "a"], "'a' and 'a' would be written to one file"),
        (["A", "a"], "'A' and 'a' would be"),
        (["../a"], "'../a' cannot be the name"),
        (["/a"], "cannot be"),
        ([""], "cannot be"),
        (["p/../a"], "cannot be"),
    ],
)
def test_cases_have_files_of_their_own(cases: list[str], message: str, tmp_path: Path) -> None:
    items = [{"case": case, "image": "", "prompts": []} for case in cases]
    with pytest.raises(InputError, match=message):
        CaseDataset(items, None, tmp_path)


def test_cases_in_folders_and_numbers_as_cases(tmp_path: Path, options: dict) -> None:
    image = save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    entries = [{"image": str(image), "case": case, "prompts": [BOX]} for case in ("p0/a", 12)]
    (tmp_path / "list.json").write_text(json.dumps({"testing": entries}))
    assert not infer({**options, "prompts": None, "dataset_dir": str(tmp_path / "list.json")})
    out = tmp_path / "out"
    for name in ("p0/a", "12"):
        assert (out / f"{name}.nii.gz").exists()
        assert (out / "records" / f"{name}.json").exists()


def test_what_fails_without_a_line_of_its_own_is_told_by_its_cause() -> None:
    try:
        try:
            raise OSError("no such\ncodec")
        except OSError as error:
            raise RuntimeError("applying transform <monai>") from error
    except RuntimeError as error:
        assert told(error) == "OSError: no such codec"


def test_scores_are_known_numbers() -> None:
    one, other = np.zeros((2, 20, 20, 20), bool)
    one[5:15, 5:15, 5:15], other[5:15, 5:15, 7:17] = True, True
    spacing = np.array([1.0, 1.0, 1.0])
    found = OrganScores(1.0)(one, other, spacing, "liver")
    assert found["dsc"] == 80
    assert found["nsd"] < 100
    assert OrganScores(2.0)(one, other, spacing, "liver")["nsd"] == 100
    with pytest.raises(InputError, match="has none for 'liver'"):
        OrganScores({"spleen": 1.0})(one, other, spacing, "liver")


def test_csv_says_the_same_as_json(tmp_path: Path, options: dict) -> None:
    save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    (tmp_path / "p.csv").write_text(
        "case,label,frame,i0,j0,k0,i1,j1,k1,foreground\n"
        f"a,liver,voxel,{','.join(map(str, BOX['box']))},\n"
    )
    write_prompts(tmp_path, "a")
    assert not infer(options)
    by_json = nib.load(tmp_path / "out" / "a.nii.gz").get_fdata()
    assert not infer({**options, "prompts": str(tmp_path / "p.csv")})
    assert np.array_equal(nib.load(tmp_path / "out" / "a.nii.gz").get_fdata(), by_json)
    assert read_json(tmp_path / "out" / "records" / "a.json")["rows"][0]["organ"] == "liver"


def test_points_in_csv_are_those_in_json(tmp_path: Path, options: dict) -> None:
    save_volume(tmp_path / "in" / "a.nii.gz", ct(0)[0])
    rows = [",".join(PROMPT_COLUMNS), "a,liver,,10,12,2,,,,", "a,liver,voxel,3,4,2,,,,0"]
    (tmp_path / "p.csv").write_text("\n".join(rows))
    assert read_prompts(tmp_path / "p.csv") == {
        "a": [
            {"label": "liver", "frame": "voxel", "points": [[*point]], "point_labels": [kind]}
            for point, kind in (((10, 12, 2), 1), ((3, 4, 2), 0))
        ]
    }


def test_killed_run_leaves_whole_files_and_is_resumed(tmp_path: Path) -> None:
    image, cases = ct(0)[0], [f"case_{n}" for n in range(30)]
    for case in cases:
        save_volume(tmp_path / "in" / f"{case}.nii.gz", image)
    write_prompts(tmp_path, *cases)
    torch.save(methods.coefficients(build("tiny")).state_dict(), tmp_path / "model.pt")
    options = {
        "bundle_root": str(tmp_path),
        "dataset_dir": str(tmp_path / "in"),
        "backbone": "tiny",
        "prompts": str(tmp_path / "prompts.json"),
        "model_file": str(tmp_path / "model.pt"),
        "output_dir": str(tmp_path / "out"),
    }
    inference = partial(run, "infer", "inference", run_id="inference", **options)
    process = started(inference)
    while not list(tmp_path.glob("out/records/[!.]*.json")):
        assert process.is_alive()
        time.sleep(0.05)
    process.kill()
    process.join()
    done = {path.stem for path in tmp_path.glob("out/records/[!.]*.json")}
    assert 0 < len(done) < len(cases)
    for path in tmp_path.glob("out/[!.]*.nii.gz"):
        assert nib.load(path).get_fdata().shape == image.shape
    before = {case: (tmp_path / "out" / f"{case}.nii.gz").stat().st_mtime_ns for case in done}
    inference(resume=True)
    for case, written in before.items():
        assert (tmp_path / "out" / f"{case}.nii.gz").stat().st_mtime_ns == written
    assert set(pd.read_csv(tmp_path / "out" / "cases.csv")["case"]) == set(cases)


def infer_share(rank: int, options: dict) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    run("infer", "inference", run_id="inference", **options)


def test_shares_of_which_one_was_killed_end_as_one_process(tmp_path: Path) -> None:
    cases = [f"case_{n}" for n in range(8)]
    for n, case in enumerate(cases):
        save_volume(tmp_path / "in" / f"{case}.nii.gz", ct(n)[0])
    write_prompts(tmp_path, *cases)
    options = {
        "bundle_root": str(tmp_path),
        "dataset_dir": str(tmp_path / "in"),
        "backbone": "tiny",
        "prompts": str(tmp_path / "prompts.json"),
        "tuned": "published",
        "resume": True,
    }
    shared, one = ({**options, "output_dir": str(tmp_path / n)} for n in ("shared", "one"))
    other, killed = (started(infer_share, rank, shared) for rank in range(2))
    while not (tmp_path / "shared" / "records" / "case_1.json").exists():
        assert killed.is_alive()
        time.sleep(0.02)
    killed.kill()
    killed.join()
    again = started(infer_share, 1, shared)
    run("infer", "inference", run_id="inference", **one)
    for process in (other, again):
        process.join()
        assert process.exitcode == 0
    tables = [pd.read_csv(tmp_path / n / "cases.csv") for n in ("shared", "one")]
    for table in tables:
        del table["seconds"]
    pd.testing.assert_frame_equal(*tables)
    for case in cases:
        volumes = [(tmp_path / n / f"{case}.nii.gz").read_bytes() for n in ("shared", "one")]
        assert volumes[0] == volumes[1]


@pytest.mark.parametrize(("array", "code"), [(None, 0), ("3-5", 0), ("1,3", 2)])
def test_array_job_shares_the_cases(
    array: str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from local_sbatch import submit

    command = tmp_path / "samparser"
    command.write_text('#!/bin/bash\necho "$RANK of $WORLD_SIZE: $*"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert submit(ROOT / "bundle" / "slurm" / "segment.sbatch", ["DIR", "-o", "OUT"], array) == code
    said = "".join(path.read_text() for path in sorted(tmp_path.glob("slurm-*.out")))
    if code:
        assert "must be one range" in said
    else:
        ranks = range(4 if array is None else 3)
        told = [f"{n} of {len(ranks)}: segment DIR -o OUT --resume True" for n in ranks]
        assert said.splitlines() == told


@pytest.mark.parametrize(("depth", "spacing"), [(1, 3.0), (7, 4.0)])
def test_single_slice_and_wide_gaps(
    depth: int, spacing: float, tmp_path: Path, options: dict
) -> None:
    image = np.random.default_rng(0).integers(-100, 200, (40, 48, depth)).astype(np.int16)
    source = save_volume(tmp_path / "in" / "a.nii.gz", image, np.diag([-0.8, -0.8, spacing, 1]))
    last = depth - 1
    write_prompts(tmp_path, "a", prompts=[{"label": "liver", "box": [5, 10, 0, 24, 33, last]}])
    assert not infer({**options, "propagate": Propagation()})
    found = nib.load(tmp_path / "out" / "a.nii.gz")
    assert np.array_equal(found.affine, nib.load(source).affine)
    wanted = np.zeros(image.shape, bool)
    wanted[5:25, 10:34] = True
    assert np.array_equal(found.get_fdata() == 1, wanted)
    row = pd.read_csv(tmp_path / "out" / "cases.csv").iloc[0]
    assert (row["slices"], row["ml"]) == (
        depth,
        round(20 * 24 * depth * 0.64 * spacing / 1000, 1),
    )


def test_organs_are_cleaned_as_asked(tmp_path: Path, options: dict) -> None:
    image, label = ct(0)
    label[:] = 0
    label[4:30, 4:30, 1:5] = 1
    label[15:18, 15:18, 2:4] = 0  # a hole
    label[36:39, 36:39, 2] = 1  # an island
    save_volume(tmp_path / "in" / "a.nii.gz", image)
    write_prompts(tmp_path, "a")
    pred = MetaTensor(torch.from_numpy(label[None].astype(np.uint8)))
    flow = workflow("infer", "inference", **options, largest=["liver"], fill_holes=["liver"])
    flow.initialize()
    steps = flow.parser.get_parsed_content("postprocessing").transforms[:2]
    found = Compose(steps)({"pred": pred})["pred"][0].numpy()
    wanted = np.zeros_like(label)
    wanted[4:30, 4:30, 1:5] = 1
    assert np.array_equal(found, wanted)
