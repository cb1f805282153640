"""What a server keeps is whole or not there, whatever happens: kills, full disks, odd files."""

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from closeness import assert_near
from conftest import AFFINES, LABELS, ROOT, ct, save_volume

pytest.importorskip("monailabel", reason="see make test-label")
sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))
from lib.labels import labels_given, own_values, segments_of, with_own_values
from lib.limits import Taken, TooLarge, check_size, number
from lib.model import Versions
from lib.names import safe_name
from lib.runs import SERVER, Runs
from lib.sessions import CheckedSessions
from lib.stores import CheckedDatastore
from lib.teaching import check_labels, drawn_whole, labelled, training_items
from lib.train import Tuner

from samparser_monai.errors import InputError
from samparser_monai.files import DiskFull

pytestmark = pytest.mark.server
KILLS = 20


def open_store(folder: Path) -> CheckedDatastore:
    store = CheckedDatastore(str(folder))
    store.labels = LABELS
    return store


@pytest.fixture
def store(tmp_path: Path) -> CheckedDatastore:
    for n in range(2):
        save_volume(tmp_path / "studies" / f"case_{n}.nii.gz", ct(n)[0])
    return open_store(tmp_path / "studies")


@pytest.fixture
def label(tmp_path: Path) -> Path:
    return save_volume(tmp_path / "send" / "label.nii.gz", ct(0)[1])


def child_of(work: Callable[..., Any], folder: Path | None) -> int:
    """Do some work in a process of its own; return its id once it has opened the store."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        os.read(read, 1)
        os.close(read)
        return child
    failed = 1
    with contextlib.suppress(BaseException):
        opened = [open_store(folder)] if folder else []
        os.close(write)
        work(*opened)
        failed = 0
    os._exit(failed)


def seconds(work: Callable[..., Any], folder: Path | None = None) -> float:
    """Do some work in a process of its own, on its own store, and return how long it took."""
    child, begun = child_of(work, folder), time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    return time.monotonic() - begun


def killed_while(
    work: Callable[..., Any], chance: random.Random, longest: float, folder: Path | None = None
) -> None:
    """Do some work in a process of its own, on its own store; kill it at a random moment."""
    child = child_of(work, folder)
    time.sleep(chance.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0  # it did not fail by itself


def kept_values(store: CheckedDatastore, case: str = "case_0") -> np.ndarray:
    return np.asanyarray(nib.load(store.get_label_uri(case, "final")).dataobj)


def test_a_killed_save_leaves_the_old_label_or_the_new_with_its_own_meaning(
    store: CheckedDatastore, tmp_path: Path
) -> None:
    truth = ct(0)[1]
    noise = np.random.default_rng(0).random(truth.shape) < 0.5
    swapped = np.where(noise, np.choose(truth, [0, 2, 1]), 0).astype(np.uint8)
    files = [save_volume(tmp_path / f"{n}.nii.gz", v) for n, v in enumerate((truth, swapped))]
    infos = [[("liver", 1), ("kidney", 2)], [("kidney", 1), ("liver", 2)]]
    told = [{"label_info": [{"name": n, "idx": i} for n, i in info]} for info in infos]

    def save(store: CheckedDatastore, n: int) -> None:
        store.save_label("case_0", str(files[n]), "final", dict(told[n]))

    chance = random.Random(0)
    folder = tmp_path / "studies"
    longest = max(seconds(lambda store, n=n: save(store, n), folder) for n in (1, 0))
    for kill in range(KILLS):
        new = (kill + 1) % 2
        killed_while(lambda store, n=new: save(store, n), chance, 1.2 * longest, folder)
        again = open_store(folder)
        values = kept_values(again)
        found = [n for n, v in enumerate((truth, swapped)) if np.array_equal(values, v)]
        assert len(found) == 1
        assert again.get_label_info("case_0", "final")["label_info"] == told[found[0]]["label_info"]


def test_a_killed_upload_leaves_no_image_or_the_whole(
    store: CheckedDatastore, tmp_path: Path
) -> None:
    volume = save_volume(tmp_path / "upload.nii.gz", ct(5)[0])
    folder = tmp_path / "studies"
    longest = seconds(lambda store: store.add_image("first", str(volume), {}), folder)
    chance = random.Random(1)
    for kill in range(KILLS):

        def add(store: CheckedDatastore, name: str = f"new_{kill}") -> None:
            store.add_image(name, str(volume), {})

        killed_while(add, chance, longest, folder)
        again = open_store(folder)
        assert {"case_0", "case_1", "first"} <= set(again.list_images())
        assert not list(folder.rglob(".unfinished_*"))
        for image in again.list_images():
            assert nib.load(again.get_image_uri(image)).get_fdata().any()


def test_a_killed_update_leaves_the_list_whole(store: CheckedDatastore, tmp_path: Path) -> None:
    chance = random.Random(2)
    for _ in range(KILLS):

        def work(store: CheckedDatastore) -> None:
            for n in range(1000):
                store.update_image_info("case_0", {"note": str(n) * 1000})

        killed_while(work, chance, 0.05, tmp_path / "studies")
        kept = json.loads((tmp_path / "studies" / "datastore_v2.json").read_text())
        assert set(kept["objects"]) == {"case_0", "case_1"}


def test_a_killed_session_is_whole_or_gone_at_the_next_start(tmp_path: Path) -> None:
    chance, where = random.Random(3), tmp_path / "sessions"
    source = save_volume(tmp_path / "source.nii.gz", ct(6)[0])
    first = Path(shutil.copy(source, tmp_path / "first.nii.gz"))
    longest = seconds(lambda: CheckedSessions(str(where), 3600, 10**9).add_session(str(first)))
    for n in range(KILLS):
        upload = tmp_path / f"{n}.nii.gz"
        upload.write_bytes(source.read_bytes())
        sessions = CheckedSessions(str(where), 3600, 10**9)
        killed_while(lambda s=sessions, u=upload: s.add_session(str(u)), chance, longest)
        again = CheckedSessions(str(where), 3600, 10**9)
        again.remove_expired()
        assert list(where.iterdir())
        for folder in where.iterdir():
            assert nib.load(again.get_session(folder.name).image).get_fdata().any()


def test_a_killed_training_adds_its_tuned_part_whole_or_not(tmp_path: Path) -> None:
    chance, versions = random.Random(4), Versions(tmp_path)
    candidate, content = tmp_path / "candidate", os.urandom(4_000_000)
    candidate.write_bytes(content)
    longest = seconds(lambda: versions.add(candidate, {"name": "first", "accepted": True}))
    assert versions.names()[2:] == ["first"]
    for n in range(KILLS):
        row = {"name": f"v{n}", "accepted": True}
        killed_while(lambda row=row: versions.add(candidate, row), chance, longest)
        for name in versions.names()[2:]:
            assert versions.path(name).read_bytes() == content
        assert all(row["name"] in versions.names() for row in versions.history())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_what_was_there(small_disk: Path, label: Path, tmp_path: Path) -> None:
    save_volume(small_disk / "case_0.nii.gz", ct(0)[0])
    store = open_store(small_disk)
    store.save_label("case_0", str(label), "final", {})
    before = sorted((p.name, p.read_bytes()) for p in small_disk.rglob("*") if p.is_file())
    noise = np.random.default_rng(0).integers(0, 256, ct(0)[1].shape)
    for n in range(30):  # until nothing more fits
        (small_disk / f"filler_{n}").write_bytes(b"")
        with contextlib.suppress(OSError), (small_disk / f"filler_{n}").open("wb") as file:
            file.write(b"x" * 10_000)
    large = save_volume(tmp_path / "large.nii.gz", noise.astype(np.uint8))
    with pytest.raises(DiskFull):
        store.save_label("case_0", str(large), "final", {})
    with pytest.raises((DiskFull, OSError)):
        store.add_image("more", str(save_volume(tmp_path / "more.nii.gz", ct(3)[0])), {})
    after = [(p.name, p.read_bytes()) for p in small_disk.rglob("*") if p.is_file()]
    assert sorted(row for row in after if not row[0].startswith("filler")) == before
    assert np.array_equal(kept_values(open_store(small_disk)), ct(0)[1])


def test_an_image_is_never_replaced(store: CheckedDatastore, label: Path, tmp_path: Path) -> None:
    store.save_label("case_0", str(label), "final", {})
    other = save_volume(tmp_path / "other.nii.gz", ct(9)[0])
    with pytest.raises(Taken, match="there already"):
        store.add_image("case_0", str(other), {})
    assert np.array_equal(nib.load(store.get_image_uri("case_0")).get_fdata(), ct(0)[0])
    assert store.get_label_by_image_id("case_0", "final")


@pytest.mark.parametrize("name", ["2: CT AbdPel 5.0", "4: Abd. nativ", "CT (axial)", "Müller"])
def test_names_of_viewers_become_names_of_files(
    store: CheckedDatastore, name: str, tmp_path: Path
) -> None:
    path = save_volume(tmp_path / "upload.nii.gz", ct(4)[0])
    kept = store.add_image(name, str(path), {})
    assert kept == safe_name("image", kept)
    assert not set(kept) & set(':/\\*?"<>|')
    assert store.get_image_info(kept)["given"] == name
    assert open_store(tmp_path / "studies").get_image_uri(kept).endswith(f"{kept}.nii.gz")


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", "a\\b", ".x", "x" * 300, "a\nb", 7, None])
def test_what_is_no_name_is_told(name: Any) -> None:
    with pytest.raises(InputError):
        safe_name("image", name)


def test_names_are_kept_whole(store: CheckedDatastore, tmp_path: Path) -> None:
    for name in ("CT 1.25 mm", "CT 1.5 mm"):
        path = save_volume(tmp_path / f"{name}.nii.gz", ct(4)[0])
        assert store.add_image("", str(path), {}) == name
    assert {"CT 1.25 mm", "CT 1.5 mm"} <= set(open_store(tmp_path / "studies").list_images())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ct(0)[1] * 0.5, "fractions"),
        (np.where(ct(0)[1], np.nan, 0), "NaN"),
        (np.where(ct(0)[1], -255, 0), "negative"),
        (np.where(ct(0)[1], 257, 0), "over 255"),
        (np.where(ct(0)[1], 1.7, 0), "fractions"),
    ],
)
def test_what_is_no_label_is_refused_when_it_is_saved(
    store: CheckedDatastore, label: Path, values: np.ndarray, message: str
) -> None:
    store.save_label("case_0", str(label), "final", {})
    wrong = save_volume(label.with_name("wrong.nii.gz"), values.astype(np.float32))
    with pytest.raises(InputError, match=message) as told:
        store.save_label("case_0", str(wrong), "final", {})
    assert str(wrong) not in str(told.value)
    assert np.array_equal(kept_values(store), ct(0)[1])


def test_a_scale_factor_keeps_organs_what_they_are(store: CheckedDatastore, tmp_path: Path) -> None:
    truth = np.choose(ct(0)[1], [0, 3, 1]).astype(np.uint8)
    image = nib.Nifti1Image(truth.astype(np.float64), AFFINES["LPS"])
    image.set_data_dtype(np.int16)  # nibabel finds a scale by itself: 3 reads as 2.99998
    nib.save(image, tmp_path / "scaled.nii.gz")
    assert not np.isin(nib.load(tmp_path / "scaled.nii.gz").get_fdata(), [0, 1, 3]).all()
    store.save_label("case_0", str(tmp_path / "scaled.nii.gz"), "final", {})
    count = {"liver": int((truth == 1).sum()), "spleen": int((truth == 3).sum())}
    assert store.told == {"organs": count, "left_out": {}}
    split, _ = training_items(labelled(store), LABELS, tmp_path / "taught")
    taught = sum(np.asanyarray(nib.load(i["label"]).dataobj) for s in split.values() for i in s)
    assert np.array_equal(taught, truth)


def test_names_are_taught_where_organs_were_drawn(store: CheckedDatastore, tmp_path: Path) -> None:
    whole, some = ct(0)[1], ct(1)[1].copy()
    some[:, :, [0, 4, 5]] = 0  # the liver on slices 1 to 3, kidneys on the last of them
    some[:, :, :3][some[:, :, :3] == 2] = 0
    for n, values in enumerate((whole, some)):
        path = save_volume(tmp_path / f"{n}.nii.gz", values)
        store.save_label(f"case_{n}", str(path), "final", {})
    split, _ = training_items(labelled(store), LABELS, tmp_path / "taught", names=True)
    (first,), others = sorted(split.values(), key=len)
    assert first["case"] == "case_0"
    assert first["every_slice"]  # it was drawn from end to end: what is not drawn is not there
    volumes = [np.asanyarray(nib.load(item["label"]).dataobj) for item in others]
    assert np.array_equal(sum(volumes), some)
    assert [set(np.unique(v)) - {0} for v in volumes] == [{1}, {1, 2}]
    assert not any("every_slice" in item for item in others)
    assert not drawn_whole(np.where(np.arange(6) % 2, whole, 0))
    assert not drawn_whole(np.where(np.isin(np.arange(8), [0, 7]), 0, np.ones((9, 9, 8))))


@pytest.mark.parametrize(
    "info",
    [[1], "text", 7, {"label_info": "liver"}, {"label_info": {"name": "liver"}}]
    + [
        {"label_info": [segment]}
        for segment in (
            *(1, "liver", None, {}, {"name": 3, "idx": 1}, {"idx": 1}),
            *({"name": "liver", "idx": i} for i in (300, 0, -1, "one", 1.5, True, None, [1])),
        )
    ]
    + [{"label_info": [{"name": "liver", "idx": 1}, {"name": "kidney", "idx": 1}]}],
)
def test_label_info_of_another_shape_is_refused(
    store: CheckedDatastore, label: Path, info: Any
) -> None:
    with pytest.raises(InputError):
        store.save_label("case_0", str(label), "final", info)
    store.save_label("case_0", str(label), "final", {})
    with pytest.raises(InputError):
        store.update_label_info("case_0", "final", info)
    assert segments_of(store.get_label_info("case_0", "final")) == {}


def test_segments_are_matched_and_what_is_dropped_is_told(
    store: CheckedDatastore, label: Path
) -> None:
    info = {"label_info": [{"name": "Segment_3", "idx": 1}, {"name": "Left Kidneys", "idx": 2}]}
    store.save_label("case_0", str(label), "final", info)
    truth = ct(0)[1]
    assert store.told["organs"] == {"kidney": int((truth == 2).sum())}
    assert store.told["left_out"] == {"Segment_3": int((truth == 1).sum())}
    check_labels(labelled(store), store, LABELS)
    info["label_info"][1]["name"] = "ureter"
    store.save_label("case_0", str(label), "final", info)
    with pytest.raises(InputError, match=r"'case_0' shows none of liver.*Segment_3, ureter"):
        check_labels(labelled(store), store, LABELS)


def test_labels_of_two_people_stay_and_are_compared(
    store: CheckedDatastore, tmp_path: Path
) -> None:
    truth = ct(0)[1]
    drawn = {"ann": truth, "Dr. Bob/2": np.where(np.indices(truth.shape)[0] < 15, 0, truth)}
    for person, values in drawn.items():
        path = save_volume(tmp_path / "drawn.nii.gz", values.astype(np.uint8))
        store.save_label("case_0", str(path), "final", {"by": person})
    store.save_label("case_0", str(path), "final", {"by": "Dr. Bob/2"})  # their own again
    assert store.get_labels_by_image_id("case_0").keys() == {"final", "final_ann"}
    ann, bob = (store.get_label_info("case_0", tag) for tag in ("final_ann", "final"))
    assert (ann["by"], bob["by"]) == ("ann", "Dr. Bob/2")
    both = [values == 1 for values in drawn.values()]
    dsc = 200 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum())
    found = bob["agreement"]["final_ann"]
    assert found["by"] == "ann"
    assert_near(found["dsc"]["liver"], float(dsc), share=1e-3)
    assert found["dsc"]["kidney"] == 100
    assert ann["agreement"]["final"] == {"by": "Dr. Bob/2", "dsc": found["dsc"]}
    told = store.json()["objects"]["case_0"]["labels"]["final"]["info"]
    assert told["agreement"] == bob["agreement"]  # as the Reviewer asks for all
    store.remove_label("case_0", "final_ann")
    assert store.get_label_info("case_0", "final")["agreement"] == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("3", 3), ("label 3", 3), ("Label_02", 2), ("value: 1", 1), ("9", None), ("Segment_3", None)],
)
def test_segments_named_by_a_value(name: str, value: int | None) -> None:
    found = own_values({"label_info": [{"name": name, "idx": 7}]}, LABELS)
    assert found == ({} if value is None else {7: value})


def test_a_coarse_label_means_what_its_viewer_said(store: CheckedDatastore, label: Path) -> None:
    info = {"label_info": [{"name": "Spleen", "idx": 1}, {"name": "bowel", "idx": 2}]}
    read = with_own_values(str(label), info, LABELS)
    values, truth = np.asanyarray(nib.load(read).dataobj), ct(0)[1]
    assert np.array_equal(values, np.where(truth == 1, LABELS["spleen"], 0))
    assert np.allclose(nib.load(read).affine, nib.load(label).affine)
    assert with_own_values(str(label), {}, LABELS) == str(label)
    Path(read).unlink()


def test_a_label_changed_outside_is_not_read_with_the_old_numbers(
    store: CheckedDatastore, label: Path
) -> None:
    info = {"label_info": [{"name": "kidney", "idx": 1}, {"name": "liver", "idx": 2}]}
    store.save_label("case_0", str(label), "final", info)
    save_volume(Path(store.get_label_uri("case_0", "final")), np.flip(ct(0)[1], 0))
    with pytest.raises(InputError, match="changed outside"):
        labelled(store)


def test_deleting_a_label_deletes_each_of_its_files(store: CheckedDatastore, label: Path) -> None:
    store.save_label("case_0", str(label), "final", {})
    plain = label.with_suffix("")
    plain.write_bytes(gzip.decompress(label.read_bytes()))
    store.save_label("case_0", str(plain), "final", {})
    Path(store.get_label_uri("case_0", "final") + ".gz").write_bytes(label.read_bytes())
    store.remove_label("case_0", "final")
    store.refresh()
    assert store.get_labels_by_image_id("case_0") == {}
    labels = Path(store.get_image_uri("case_0")).parent / "labels"
    assert not [path for path in labels.rglob("*") if path.is_file()]


def test_deleting_an_image_deletes_what_was_made_of_it(
    store: CheckedDatastore, label: Path, tmp_path: Path
) -> None:
    runs = Runs(tmp_path)
    store.forget = runs.forget
    for case in ("case_0", "case_1"):
        store.save_label(case, str(label), "final", {})
    with runs.begin() as work:
        training_items(labelled(store), LABELS, work / "labels")
        for passing in ("models", "slices"):
            (work / passing).mkdir()
        runs.features.mkdir()
        with pytest.raises(Taken, match="training is running"):
            store.remove_image("case_0")
    assert {path.name for path in work.iterdir()} == {"labels"}
    store.remove_image("case_0")
    left = [p.name for p in tmp_path.rglob("*case_0*")]
    assert left == []
    assert not work.exists()
    assert not runs.features.exists()
    assert store.list_images() == ["case_1"]


def test_scans_of_a_patient_stay_together(store: CheckedDatastore, tmp_path: Path) -> None:
    for case in ("case_0", "case_1"):
        path = save_volume(tmp_path / f"{case}_label.nii.gz", ct(int(case[-1]))[1])
        store.save_label(case, str(path), "final", {})
    assert training_items(labelled(store), LABELS, tmp_path / "two")[1] == "other patients"
    alone = "every 5th slice of the one patient"
    items = labelled(store, pattern="^(.+)_")
    assert {item["patient"] for item in items} == {"case"}
    assert training_items(items, LABELS, tmp_path / "one")[1] == alone
    for case in ("case_0", "case_1"):
        store.update_image_info(case, {"patient": "P7"})
    assert {item["patient"] for item in labelled(store)} == {"P7"}


def bomb(path: Path, shape: tuple[int, ...], packed: int) -> Path:
    """Write a NIfTI file of some shape that unpacks to ``packed`` bytes of zeros."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(packed // 10**6):
            file.write(bytes(10**6))
    return path


@pytest.mark.parametrize("shape", [(4, 4, 4), (2000, 2000, 2000)])
def test_a_bomb_is_not_unpacked(store: CheckedDatastore, shape: tuple, tmp_path: Path) -> None:
    store.unpacked = 10**7
    path = bomb(tmp_path / "bomb.nii.gz", shape, 30 * 10**6)
    assert path.stat().st_size < 10**5
    with pytest.raises(TooLarge, match=r"more than 0.01 GB"):
        store.add_image("bomb", str(path), {})
    with pytest.raises(TooLarge):
        store.save_label("case_0", str(path), "final", {})


def test_a_picture_is_not_all_one_value(store: CheckedDatastore, tmp_path: Path) -> None:
    path = bomb(tmp_path / "empty.nii.gz", (600, 600, 580), 210 * 10**6)
    with pytest.raises(TooLarge, match=r"0\.2 MB that unpacks to more than 200 times"):
        store.add_image("empty", str(path), {})


def test_a_bomb_in_nrrd_is_not_unpacked(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: gzip\n\n"
    path = tmp_path / "bomb.nrrd"
    path.write_bytes(head + gzip.compress(bytes(30 * 10**6)))
    with pytest.raises(TooLarge):
        check_size(path, 10**7)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "x.nrrd",
            "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
            "data file: /etc/passwd\n\n",
        ),
        ("x.mha", "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementDataFile = /etc/passwd"),
    ],
)
def test_a_volume_reads_no_other_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="another file"):
        check_size(tmp_path / name, 10**9)


@pytest.mark.parametrize("name", ["x.png", "x.svs", "x.xml", "x", "x.gz", "x.nii.gz.exe"])
def test_only_volumes_come_in(store: CheckedDatastore, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="no volume"):
        store.add_image("new", str(tmp_path / name), {})


def test_a_training_ends_with_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    import psutil

    process = {"pid": orphan.pid, "started": psutil.Process(orphan.pid).create_time()}
    gone = {**process, "started": process["started"] - 1000}  # its id is another's now
    (runs.folder / "old" / "models").mkdir(parents=True)
    note = runs.folder / "running.json"
    note.write_text(json.dumps({"process": gone, "server": gone, "work": "old"}))
    runs.clear()
    assert orphan.poll() is None  # not the training: only its id
    assert not (runs.folder / "old").exists()
    note.write_text(json.dumps({"process": process, "server": process, "work": "old"}))
    with pytest.raises(Taken, match="a training is running"), runs.begin():
        pass
    note.write_text(json.dumps({"process": process, "server": gone, "work": "old"}))
    with runs.begin():
        assert orphan.wait(10) is not None
    monkeypatch.setenv(SERVER, json.dumps(gone))
    with pytest.raises(InputError, match="that asked for this training is gone"), runs.begin():
        pass


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "0", "-1"])
def test_options_that_are_no_numbers_are_told(value: str) -> None:
    with pytest.raises(InputError, match=r"--conf volumes .* must be a number"):
        number({"volumes": value}, "volumes", 3, least=1)
    assert number({}, "upload_gb", 2) == 2


def test_options_that_cannot_be_read_are_told() -> None:
    for labels in ("{liver: 1}", "[1]", '{"liver": 0}'):
        with pytest.raises(InputError, match="labels"):
            labels_given(labels)
    with pytest.raises(InputError, match=r"--conf patient .* is no regular expression"):
        Tuner(None, None, "(")


def test_segmentations_have_the_names_and_codes_of_their_voxels(tmp_path: Path) -> None:
    import highdicom
    from lib.segmentations import label_info_of, segmentation
    from pydicom.sr import codedict
    from series import save_series

    save_series(tmp_path / "series", ct(0)[0])
    path = save_volume(
        tmp_path / "label.nii.gz", ct(0)[1] * 3, np.diag([-0.8, -0.8, 3.0, 1.0]) + _shifted()
    )
    info = [{"name": "bowel", "idx": 6}, {"name": "Milz", "idx": 3}, {"name": "x", "idx": 1}]
    made = segmentation(LABELS, str(tmp_path / "series"), str(path), info)
    found = highdicom.seg.segread(made)
    segments = [found.get_segment_description(n) for n in found.segment_numbers]
    codes = {one.segment_label: one.segmented_property_type for one in segments}
    known = {"Milz": codedict.codes.SCT.Spleen, "bowel": codedict.codes.SCT.Organ}
    assert {name: (c.value, c.scheme_designator) for name, c in codes.items()} == {
        name: (code.value, code.scheme_designator) for name, code in known.items()
    }
    assert {one.segmented_property_category.value for one in segments} == {"123037004"}
    sources = [pydicom.dcmread(tmp_path / "series" / f"{z}.dcm") for z in range(6)]
    frames = found.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in sources], ignore_spatial_locations=True
    )
    for one in segments:
        value = {"Milz": 1, "bowel": 2}[one.segment_label]
        own = frames[..., one.segment_number - 1].transpose(2, 1, 0)
        assert np.array_equal(own == 1, ct(0)[1] == value)
    (tmp_path / "kept").mkdir()
    shutil.move(made, tmp_path / "kept")
    assert label_info_of(tmp_path / "kept") == [
        {"name": "Milz", "idx": 1},
        {"name": "bowel", "idx": 2},
    ]
    assert label_info_of(tmp_path / "series") == label_info_of(tmp_path / "none") == []


def test_structure_sets_have_the_names_and_outlines_of_their_voxels(tmp_path: Path) -> None:
    from lib.structures import structure_set
    from rt_utils import RTStructBuilder
    from series import save_series

    values = ct(0)[1] * 3
    values[12:16, 20:24, 2] = 0  # a hole
    save_series(tmp_path / "series", ct(0)[0])
    path = save_volume(
        tmp_path / "label.nii.gz", values, np.diag([-0.8, -0.8, 3.0, 1.0]) + _shifted()
    )
    made = structure_set(LABELS, str(tmp_path / "series"), str(path), [{"name": "Milz", "idx": 3}])
    found = pydicom.dcmread(made)
    assert (found.Modality, found.PatientID) == ("RTSTRUCT", "1")
    names = [one.ROIName for one in found.StructureSetROISequence]
    assert names == ["Milz", "value 6"]
    reader = RTStructBuilder.create_from(str(tmp_path / "series"), made)
    corner = found.ROIContourSequence[0].ContourSequence[0].ContourData[:3]
    inside = values[:, :, round(corner[2] / 3)] == 3
    column, row = round((corner[0] - 5) / 0.8), round((corner[1] + 7) / 0.8)
    assert inside[column, row]  # it lies on a voxel of the organ's edge
    sources, sequence = reader.series_data, found.ROIContourSequence[0].ContourSequence
    shown = {c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in sequence}
    by_slice = [one.SOPInstanceUID in shown for one in sources]
    assert by_slice == (values == 3).any((0, 1)).tolist()
    Path(made).unlink()


def _shifted() -> np.ndarray:
    """Return what brings a grid to the place of ``save_series``, in RAS."""
    offset = np.zeros((4, 4))
    offset[:2, 3] = -5.0, 7.0
    return offset
