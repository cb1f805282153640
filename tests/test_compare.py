"""The harness: a line to a cell, and cells that have one are not run again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ROOT, make_dataset

from samparser_monai.commands.app import main
from samparser_monai.errors import InputError
from samparser_monai.files import read_json
from samparser_monai.harness import read_runs, write_run
from samparser_monai.studies import grid as compare
from samparser_monai.studies.cell import folder_of
from samparser_monai.studies.choosing import refuse_of_a_cell

COMPARE = [sys.executable, "-m", "samparser_monai", "compare"]


def test_only_cells_without_a_result_are_run(dataset: Path, tmp_path: Path) -> None:
    command = [*COMPARE, "--results", str(tmp_path)]
    command += ["--methods", "decoder_only,coefficients", "--decoder", "frozen", "--seeds", "1"]
    command += ["--dataset_dir", str(dataset), "--backbone", "tiny", "--epochs", "3"]
    command += ["--min_area", "20", "--min_volume", "100", "--validation_share", "0.5"]
    command += ["--cache_dir", str(tmp_path / "cache"), "--jobs", "2"]
    study, name = tmp_path / "abdomen_ct", "decoder_only_tuned_seed=0"
    # of a version that kept the options alone, with paths by their names
    given = [part if "/" not in part else Path(part).name for part in command[12:-2]]
    write_run(study, name, done := {"given": given})
    subprocess.run(command, cwd=ROOT, check=True)
    runs = read_runs(study)
    assert runs[name] == done
    result = runs["coefficients_frozen_seed=0"]
    assert (result["encoder_trainable"], result["decoder_trainable"]) == (64, 0)
    assert result["given"][:2] == ["--dataset_dir", dataset.name]
    assert result["steps"] == 18 and result["images_a_second"] > 0
    published = runs["zero_shot_frozen_seed=0"]
    assert result["published"] == published["tuned"] == published["published"]
    assert result["volumes"]["published"] == published["volumes"]["tuned"]
    assert {row["model"] for row in result["cases"]} == {"tuned"}
    assert result["validation"] != result["tuned"]["mean"]  # of other cases
    kept = {(row["organ"], row["case"]): row["dsc"] for row in result["cases"]}
    scores = result["scores"].items()
    rounded = {(organ, case): s for organ, of in scores for case, (s,) in of.items()}
    assert kept == pytest.approx(rounded, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--methods coeficients", "unknown method 'coeficients'; did you mean 'coefficients'"),
        ("--decoder thawed", "unknown decoder 'thawed'"),
        ("--vary epochs", "--vary epochs: write KEY=VALUE,VALUE"),
        ("--vary rank=4,8 --methods coefficients", "unknown config key 'rank'"),
        ("--vary epoch=1,2", "unknown config key 'epoch'; did you mean 'epochs'"),
        ("--choose rate_factor=1,3", "--choose: add --validation_share"),
        ("--seeds 0", "seeds must be a whole number of at least 1, not 0"),
        ("--epoch 3", "unknown config key 'epoch'; did you mean 'epochs'"),
        ("--vary epochs=1,2 --epochs 3", "--epochs 3: epochs is varied too; leave one of the two"),
        ("--vary epochs=1,2 --vary epochs=3", "--vary epochs: it is varied twice"),
        ("--seed 7", "--seed 7: each cell of a study has its own; give --seeds in its place"),
        ("--method lora", "--method lora: each cell of a study has its own; give --methods"),
        ("--part test", "--part test: each cell of a study has its own; leave it out"),
        ("--with_published True", "--with_published True: each cell"),
        ("--tuned a.safetensors", "--tuned a.safetensors: each cell"),
        ("--vary output_dir=a,b", "--vary output_dir: each cell of a study has its own"),
        ("--vary decoder=tuned,frozen", "--vary decoder: each cell of a study has its own"),
        ("--val_interval 1", "--val_interval 1: what judges the cells would choose their epoch"),
        ("--study ct/rates", "--study ct/rates: give a name without folders"),
        ("--study ..", "--study ..: give a name without folders"),
    ],
)
def test_bad_arguments_are_told_before_anything_runs(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["compare", "--results", str(tmp_path), *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_option_of_a_method_gives_cells_to_the_methods_that_have_it() -> None:
    vary = ["space=neck,both", "rank=4,8", "band=0,1", "epochs=1,2"]
    found = compare.cells(["coefficients", "lora_xs", "svft"], ["frozen"], 1, vary)
    grid = [cell for cell in found if cell["method"] != "zero_shot"]
    names = {compare.name_of(cell) for cell in grid}
    assert names == {
        f"{kind}_epochs={epochs}_seed=0"
        for epochs in (1, 2)
        for kind in (
            *(f"coefficients_frozen_space={space}" for space in ("neck", "both")),
            *(f"lora_xs_frozen_rank={rank}" for rank in (4, 8)),
            *(f"svft_frozen_band={band}" for band in (0, 1)),
        )
    }
    published = {compare.name_of(compare.published(cell)) for cell in grid}
    assert published == {"zero_shot_frozen_seed=0"}


@pytest.mark.parametrize(
    "options",
    [
        "--epochs 10 --val_interval 10 --pictures 0",
        "--val_interval 0",
        "--val_interval 2 --validation_share 0.3",
    ],
)
def test_option_that_no_result_depends_on_goes_to_all_cells(options: str) -> None:
    refuse_of_a_cell(options.split(), ["cache_storage"])  # raises nothing


def test_value_may_be_a_list() -> None:
    (_, *grid) = compare.cells(["lora"], ["tuned"], 1, ["box_shifts=[[0,5],[1]],[],3"])
    found = {value for cell in grid for value in cell["options"].values()}
    assert found == {"[[0,5],[1]]", "[]", "3"}


@pytest.mark.parametrize("letter", ["a", "é", "図"])
def test_long_value_has_a_folder_of_its_own(letter: str, tmp_path: Path) -> None:
    *_, one, other = compare.cells(["lora"], ["tuned"], 2, [f"checkpoint={letter * 240}"])
    for cell in (one, other):
        (tmp_path / folder_of(cell)).mkdir()
    assert len(list(tmp_path.iterdir())) == 2


def test_cell_does_not_begin_without_what_it_is_measured_against(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cell = compare.cells(["lora"], ["tuned"], 1, [])[-1]
    options = ["--dataset_dir", "nowhere"]  # begun, it would say so
    assert list(compare.run_grid([cell, cell], tmp_path, "abdomen_ct", options, 1)) == [False] * 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "against zero_shot_frozen_seed=0, which has no result" in told[0]


def test_study_tells_what_it_chooses_or_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def chooses(varied: list[str], tried: list[str]) -> list[str]:
        compare.write_about(tmp_path, "samparser compare", varied, tried)
        return read_json(tmp_path / "about.json").get("choose", [])

    assert chooses([], ["encoder_rate"]) == ["encoder_rate"]
    assert chooses(["rate_factor"], []) == []  # nothing was run
    write_run(tmp_path, "one", {"validation": 70.0})
    assert chooses([], []) == [] and not capsys.readouterr().err
    assert chooses(["epochs"], ["rate_factor"]) == ["rate_factor"]
    assert "tell rate_factor as chosen now" in capsys.readouterr().err
    assert chooses(["epochs"], []) == ["rate_factor"]
    with pytest.raises(InputError, match=r"--vary rate_factor: .* chooses it; give --choose"):
        chooses(["rate_factor"], [])
    write_run(tmp_path, "other", {})
    with pytest.raises(InputError, match=r"--choose epochs: .*runs.jsonl has runs without a valid"):
        chooses([], ["epochs"])


def test_published_sam_comes_first_and_once_for_what_it_depends_on() -> None:
    vary = ["epochs=1,2", "backbone=tiny,vit_b"]
    grid = compare.cells(["lora"], ["tuned", "frozen"], 2, vary)
    first = [cell for cell in grid if cell["method"] == "zero_shot"]
    assert grid[: len(first)] == first and len(first) == 2 * 2  # seeds x backbones
    assert len(grid) - len(first) == 2 * 2 * 2 * 2
    assert all(compare.published(cell) in first for cell in grid)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the options of a cell that has its result."""
    monkeypatch.chdir(ROOT)
    options = ["--dataset_dir", str(make_dataset(tmp_path / "ct", 1)), "--epochs", "2"]
    cell = {"method": "lora", "decoder": "tuned", "seed": 0, "options": {}}
    (run,) = compare.to_run([cell], tmp_path, "abdomen_ct", options)
    write_run(tmp_path, compare.name_of(cell), run)
    return options


def to_run(folder: Path, options: list[str], method: str = "lora") -> list[dict]:
    cell = {"method": method, "decoder": "tuned", "seed": 0, "options": {}}
    return compare.to_run([cell], folder, "abdomen_ct", options)


def test_cell_is_known_by_all_it_depends_on(made: list[str], tmp_path: Path) -> None:
    assert not to_run(tmp_path, made)
    assert not to_run(tmp_path, [*made, "--num_workers", "2", "--cache_dir", "elsewhere"])
    assert not to_run(tmp_path, [*made, "--coefficient_rate", "3e-2"])  # what it is anyway
    with pytest.raises(InputError, match=r"epochs was 2, is 5; give another --study"):
        to_run(tmp_path, [*made[:3], "5"])
    with pytest.raises(InputError, match=r"checkpoint was None, is files \w+"):
        to_run(tmp_path, [*made, "--checkpoint", str(ROOT / "LICENSE")])
    label = tmp_path / "ct" / "labels" / "case_0.nii.gz"
    os.utime(label, (1, 1))
    assert not to_run(tmp_path, made)  # a copy of the data is the same data
    label.write_bytes(label.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"dataset_dir was files \w+, is files \w+"):
        to_run(tmp_path, made)


def test_data_are_known_by_a_path_without_a_slash(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "file").touch()  # of the method's name
    assert not to_run(tmp_path, ["--dataset_dir", "ct", *made[2:]])
    label = tmp_path / "ct" / "labels" / "case_0.nii.gz"
    label.write_bytes(label.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"dataset_dir was files \w+, is files \w+"):
        to_run(tmp_path, ["--dataset_dir", "ct", *made[2:]])


def test_setting_of_a_later_version_counts_where_it_is_given(
    made: list[str], tmp_path: Path
) -> None:
    ((name, run),) = read_runs(tmp_path).items()
    del run["depends"]["focal"]
    write_run(tmp_path, name, run)
    assert not to_run(tmp_path, made)
    with pytest.raises(InputError, match=r"focal was not there, is 0\.1"):
        to_run(tmp_path, [*made, "--focal", "0.1"])
    run["given"] = [*made, "--min_area", "7"]
    run["depends"]["min_area"] = "7"
    write_run(tmp_path, name, run)
    with pytest.raises(InputError, match="min_area was 7, is 100"):
        to_run(tmp_path, made)


def test_how_names_are_asked_counts_where_they_are(made: list[str], tmp_path: Path) -> None:
    ((name, run),) = read_runs(tmp_path).items()
    run["depends"]["name_share"] = "0.5"  # the default of another day
    write_run(tmp_path, name, run)
    assert not to_run(tmp_path, made)
    run["depends"]["names"] = "True"
    write_run(tmp_path, name, run)
    with pytest.raises(InputError, match=r"name_share was 0\.5, is 1\.0"):
        to_run(tmp_path, [*made, "--names", "True"])


def test_published_sam_does_not_depend_on_training(made: list[str], tmp_path: Path) -> None:
    one, other = (
        to_run(tmp_path, [*made[:3], epochs], "zero_shot")[0]["depends"] for epochs in "25"
    )
    assert one == other and "dataset_dir" in one


@pytest.mark.parametrize("deep", [False, True])
def test_terminated_ends_and_leaves_nothing(dataset: Path, tmp_path: Path, deep: bool) -> None:
    command = [*COMPARE, "--results", str(tmp_path / "results")]
    command += ["--methods", "zero_shot", "--seeds", "1", "--dataset_dir", str(dataset)]
    command += ["--backbone", "tiny", "--min_area", "20", "--min_volume", "100"]
    command += ["--box_shifts", str([float(n) for n in range(1000)])]  # for minutes
    temporary = tmp_path / ("t" * 90) if deep else Path(tempfile.mkdtemp(prefix="tmp_"))
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "COMPARE_TEST": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        while not list(temporary.glob("compare_*/*/log.txt")):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way
        assert process.wait(20) == 130
        assert not list(temporary.glob("compare_*"))
        assert not of_environment(f"COMPARE_TEST={tmp_path}")
    finally:
        process.kill()
        shutil.rmtree(temporary)


def of_environment(text: str) -> list[int]:
    """Return the cells' processes, by what is in their environment; each leads a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if os.getpgid(pid) == pid]
