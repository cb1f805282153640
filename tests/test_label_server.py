"""The server as its clients use it: MONAI Label's own, and plain HTTP as 3D Slicer sends it."""

import gzip
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from closeness import assert_near
from conftest import ROOT, ct, save_volume

MONAILabelClient = pytest.importorskip(
    "monailabel.client", reason="see make test-label"
).MONAILabelClient
import psutil  # noqa: E402
import requests  # noqa: E402
from label_server import Server, make_bundle  # noqa: E402

sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))
from lib.model import Model, Versions  # noqa: E402

from samparser_monai import methods  # noqa: E402
from samparser_monai.sam import build  # noqa: E402
from samparser_monai.sam.named_prompts import with_names  # noqa: E402
from samparser_monai.tuned.part import read_tuned, save_tuned  # noqa: E402

pytestmark = pytest.mark.server
SHAPE = (48, 40, 6)
ROI = [5, 24, 12, 32, 0, 5]  # about the liver of the synthetic volumes
ONE_SLICE = [*ROI[:4], 3, 3]
"""Nothing propagates there, so no evidence empties what the untrained network answers."""
MULTIPART = "multipart/form-data"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("label")
    bundle = make_bundle(folder, "tiny")
    for n in range(3):
        save_volume(folder / "studies" / f"case_{n}.nii.gz", ct(n)[0])
    running = Server(folder, bundle, str(folder / "studies"), "--conf", "upload_gb", "0.001")
    running.wait()
    yield running
    running.stop()


def post(server: Server, model: str, case: str, output: str = "json", **params: Any) -> Any:
    """Send a request as viewers do, and return the response."""
    return requests.post(
        f"{server.url}/infer/{model}",
        params={"image": case, "output": output},
        data={"params": json.dumps(params)},
        timeout=120,
    )


def mask_of(server: Server, model: str, image: str, **params: Any) -> np.ndarray:
    """Return the answered label volume."""
    response = post(server, model, image, output="image", result_extension=".nii.gz", **params)
    assert response.ok, response.text
    return np.asanyarray(nib.Nifti1Image.from_bytes(gzip.decompress(response.content)).dataobj)


@pytest.fixture
def client(server: Server) -> MONAILabelClient:
    return MONAILabelClient(server.url)


def test_info_lists_models_labels_and_tuned_parts(client: MONAILabelClient) -> None:
    info = client.info()
    assert info["models"]["samparser"]["type"] == "deepgrow"
    assert info["models"]["samparser_slice"]["dimension"] == 2
    assert info["models"]["samparser"]["labels"]["kidney"] == 2
    assert info["models"]["samparser"]["config"]["tuned"][:2] == ["latest", "start"]
    assert info["labels"] == ["liver", "kidney", "spleen", "pancreas"]
    assert {"least_sure", "random"} <= info["strategies"].keys()


def test_slicer_smart_edit_request(server: Server) -> None:
    params = {
        "label": "kidney",
        "foreground": [[30, 12, 2]],
        "background": [[5, 35, 2]],
        "roi": [34, 26, 17, 7, 2, 2],  # pairs unsorted, as an ROI in RAS gives them in LPS
        "tuned": "latest",
        "two_points_are_a_box": False,
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "result_compress": False,
        "client_id": "user-xyz",
    }
    response = requests.post(
        f"{server.url}/infer/samparser_slice?image=case_0",
        files={"params": (None, json.dumps(params))},
        timeout=120,
    )
    assert response.ok, response.text
    assert response.headers["content-type"].startswith(MULTIPART)
    assert b'name="params"' in response.content
    assert b'name="image"' in response.content


def test_answer_lies_on_the_image_and_on_its_slice(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    params = {"label": "liver", "roi": ONE_SLICE, "result_extension": ".nrrd"}
    file, told = client.infer("samparser_slice", "case_0", params)
    answer, image = (
        sitk.ReadImage(str(path)) for path in (file, server.folder / "studies" / "case_0.nii.gz")
    )
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        # NRRD writes decimals, of float32 headers
        assert_near(getattr(answer, get)(), getattr(image, get)(), share=1e-6)
    values = sitk.GetArrayFromImage(answer)
    assert set(np.flatnonzero(values.any((1, 2)))) <= {3}
    assert set(np.unique(values)) <= {0, 1}
    assert told["label_names"]["liver"] == 1
    assert told["organs"][0]["organ"] == "liver"


def test_box_is_sorted_and_clipped(server: Server) -> None:
    def asked(*roi: int) -> np.ndarray:
        return mask_of(server, "samparser_slice", "case_0", label="liver", roi=list(roi))

    given = asked(*ONE_SLICE)
    assert given.any()
    assert np.array_equal(given, asked(24, 5, 32, 12, 3, 3))
    assert np.array_equal(asked(0, 24, 12, 39, 3, 3), asked(-9, 24, 12, 99, 3, 3))
    beyond = post(server, "samparser", "case_0", label="liver", roi=[*ROI[:4], -9, 99])
    assert beyond.json()["organs"][0]["organ"] == "liver"


def test_several_organs_in_one_request(server: Server) -> None:
    both = {"liver": ROI, "kidney": [26, 34, 7, 17, 0, 5]}
    told = post(server, "samparser", "case_0", rois=both).json()
    assert {row["organ"] for row in told["organs"]} == {"liver", "kidney"}
    clicks = {"liver": [[14, 22, 1]], "kidney": [[30, 12, 1]]}
    told = post(server, "samparser_slice", "case_0", **clicks).json()
    assert {row["organ"] for row in told["organs"]} == {"liver", "kidney"}


def test_trunk_runs_once_on_a_slice(server: Server) -> None:
    ask = {"label": "liver", "foreground": [[14, 22, 4]]}
    post(server, "samparser_slice", "case_1", **ask)
    again = post(server, "samparser_slice", "case_1", **ask, background=[[40, 30, 4]]).json()
    assert again["computed_slices"] == 0


def test_sessions_do_not_mix(client: MONAILabelClient, tmp_path: Path) -> None:
    volumes = [save_volume(tmp_path / str(n) / "image.nii.gz", ct(10 + 7 * n)[0]) for n in (0, 1)]
    params = {"label": "liver", "roi": ONE_SLICE, "result_extension": ".nii.gz"}

    def answer(session: str) -> np.ndarray:
        file, _ = client.infer("samparser_slice", "", dict(params), session_id=session)
        return np.asanyarray(nib.load(file).dataobj)

    alone = []
    for volume in volumes:
        session = client.create_session(str(volume))["session_id"]
        alone.append(answer(session))
        client.remove_session(session)
    assert not np.array_equal(*alone)
    both = [client.create_session(str(volume))["session_id"] for volume in volumes]
    for _ in range(3):
        for session, wanted in zip(both, alone, strict=True):
            assert np.array_equal(answer(session), wanted)


def test_upload_is_kept_and_answered(
    client: MONAILabelClient, server: Server, tmp_path: Path
) -> None:
    path = save_volume(tmp_path / "upload.nii.gz", ct(5)[0])
    assert client.upload_image(str(path), "uploaded")["image"] == "uploaded"
    assert post(server, "samparser", "uploaded", label="liver", roi=ROI).ok
    file, _ = client.infer("samparser", "", {"label": "liver", "roi": ROI}, file=str(path))
    assert nib.load(file).shape == SHAPE
    requests.delete(f"{server.url}/datastore/image", params={"id": "uploaded"}, timeout=30)


def test_clicks_go_on_from_an_answer_or_a_segment_and_are_undone(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    def asked(**params: Any) -> np.ndarray:
        more = {"label": "liver", "client_id": "ann", **params}
        return mask_of(server, "samparser", "case_0", **more)

    segment = save_volume(tmp_path / "segment.nii.gz", ct(0)[1])
    client.save_label("case_0", str(segment), "draft", {})
    liver = ct(0)[1] == 1
    click = {"foreground": [[40, 30, 3]]}
    first = asked(draft_tag="draft", **click)
    assert np.array_equal(first[:, :, [0, 5]], liver[:, :, [0, 5]])
    assert first[40, 30, 3] == 1
    background = {"background": [[14, 22, 2]]}
    second = asked(**click, **background)
    assert second[14, 22, 2] == 0
    assert np.array_equal(second[:, :, 5], first[:, :, 5])
    assert np.array_equal(asked(undo=True), first)
    sent, told = client.infer(
        "samparser", "case_0", {"label": "liver", **click}, label_in=str(segment)
    )
    assert told["goes_on"] == ["liver"]
    assert np.array_equal(np.asanyarray(nib.load(sent).dataobj), first)
    requests.delete(f"{server.url}/datastore/label?id=case_0&tag=draft", timeout=30)


def test_slicer_scribbles_request(server: Server, client: MONAILabelClient, tmp_path: Path) -> None:
    """As the plugin sends it: its segments in one volume, the strokes last, numbered by ``id``."""
    assert client.info()["models"]["samparser_scribbles"]["type"] == "scribbles"
    values = (ct(0)[1] == 1).astype(np.uint8)
    values[10:14, 20:24, 2], values[38:42, 30:33, 2] = 2, 3
    names = ["liver", "background_scribbles", "foreground_scribbles"]
    params = {
        **{"tuned": "latest", "lock_others": False, "save": False, "roi": []},
        "label_info": [{"name": name, "id": n} for n, name in enumerate(names, start=1)],
        "selected_label_name": "liver",
        **{"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "strokes"},
    }
    path = save_volume(tmp_path / "strokes.nii.gz", values)
    file, told = client.infer("samparser_scribbles", "case_0", params, label_in=str(path))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T
    assert not found[10:14, 20:24, 2].any()
    assert (found[38:42, 30:33, 2] == 1).all()
    assert np.array_equal(found[:, :, 5], values[:, :, 5])
    assert told["goes_on"] == ["liver"]
    refused = post(server, "samparser_scribbles", "case_0", selected_label_name="liver")
    assert refused.status_code == 422
    assert "come as a label volume" in refused.json()["detail"]


def test_answers_are_put_into_the_label_on_request(
    server: Server, client: MONAILabelClient
) -> None:
    def saved() -> np.ndarray:
        asked = {"label": "case_2", "tag": "final"}
        answer = requests.get(f"{server.url}/datastore/label", params=asked, timeout=30)
        return np.asanyarray(nib.Nifti1Image.from_bytes(gzip.decompress(answer.content)).dataobj)

    box = {"label": "liver", "roi": ONE_SLICE}
    liver = mask_of(server, "samparser_slice", "case_2", save=True, client_id="ann", **box)
    assert np.array_equal(saved(), liver)
    more = {"label": "kidney", "roi": [26, 34, 7, 17, 1, 1], "save": True}
    kidney = mask_of(server, "samparser_slice", "case_2", client_id="ann", **more)
    assert np.array_equal(saved(), np.where(kidney > 0, kidney, liver))
    info = requests.get(f"{server.url}/datastore/label/info?label=case_2&tag=final", timeout=30)
    assert info.json()["by"] == "ann"
    assert {one["name"] for one in info.json()["label_info"]} == {"liver", "kidney"}
    requests.delete(f"{server.url}/datastore/label?id=case_2&tag=final", timeout=30)


def test_reviewer_lists_corrects_approves_and_sees_how_labels_agree(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    """The calls of MONAI Label's Reviewer, in its order."""
    url, image = f"{server.url}/datastore/", "case_2"

    def listed() -> dict:
        found = requests.get(url, params={"output": "all"}, timeout=30).json()
        return found["objects"][image]["labels"]

    info = {"label_info": [{"name": "liver", "idx": 1}]}
    drawn = (ct(2)[1] == 1).astype(np.uint8)
    corrected = drawn.copy()
    corrected[:12] = 0
    first = save_volume(tmp_path / "a.nii.gz", drawn)
    person(client, "ann").save_label(image, str(first), "final", dict(info))
    assert listed()["final"]["info"]["by"] == "ann"
    asked = {"label": image, "tag": "final"}
    assert requests.get(f"{url}image", params={"image": image}, timeout=30).ok
    assert requests.get(f"{url}label", params=asked, timeout=30).ok
    version = save_volume(tmp_path / "b.nii.gz", corrected)
    more = {**info, "segmentationMeta": {"status": "flagged"}}
    person(client, "reviewer").save_label(image, str(version), "version_1", more)
    meta = {"status": "approved", "approvedBy": "reviewer", "level": "hard", "comment": "dome"}
    approved = requests.put(
        f"{url}updatelabelinfo",
        params={"label": image, "tag": "version_1"},
        data={"params": json.dumps({"segmentationMeta": meta})},
        timeout=30,
    )
    assert approved.ok, approved.text
    both = listed()
    assert both["version_1"]["info"]["segmentationMeta"] == meta
    dsc = 200 * (drawn & corrected).sum() / (drawn.sum() + corrected.sum())
    for tag, other, by in (("final", "version_1", "reviewer"), ("version_1", "final", "ann")):
        told = both[tag]["info"]["agreement"][other]
        assert told["by"] == by
        assert_near(told["dsc"]["liver"], float(dsc), share=1e-3)
    for tag in ("version_1", "final"):
        asked = {"id": image, "tag": tag}
        assert requests.delete(f"{url}label", params=asked, timeout=30).ok


def test_a_second_user_does_not_wait_and_who_leaves_is_not_computed(
    server: Server, tmp_path: Path
) -> None:
    url = server.url
    shape = (48, 40, 150)
    content = save_volume(tmp_path / "x.nii.gz", ct(3, shape)[0]).read_bytes()
    files = {"file": ("long.nii.gz", content)}
    assert requests.put(f"{url}/datastore/", files=files, timeout=60).ok
    whole = {"label": "liver", "foreground": [[14, 22, k] for k in range(shape[2])]}
    post(server, "samparser_slice", "case_0", label="liver", roi=ONE_SLICE)
    waited: dict[str, float] = {"click": 0.0, "info": 0.0}
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        answer = pool.submit(post, server, "samparser", "long", **whole)
        while not answer.done():
            for kind in waited:
                sent = time.monotonic()
                if kind == "info":
                    assert requests.get(f"{url}/info/", timeout=30).ok
                else:
                    post(server, "samparser_slice", "case_0", label="liver", roi=ONE_SLICE)
                waited[kind] = max(waited[kind], time.monotonic() - sent)
        took = time.monotonic() - begun
    assert answer.result().ok
    print(f"volume {took:.2f} s, {waited}")
    assert max(waited.values()) < took / 3
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{url}/infer/samparser?image=long",
            data={"params": json.dumps(whole)},
            timeout=min(0.2, took / 20),
        )
    for _ in range(100):
        if "the client has left" in server.log.read_text():
            break
        time.sleep(0.1)
    else:
        raise TimeoutError("it is computed still")
    assert requests.delete(f"{url}/datastore/image", params={"id": "long"}, timeout=30).ok


MALFORMED = [
    ({}, 422, "place a foreground point"),
    ({"label": "liver"}, 422, "place a foreground point"),
    ({"label": "liver", "background": [[1, 1, 1]]}, 422, "background points only take away"),
    ({"label": "livr", "roi": ROI}, 422, "did you mean 'liver'"),
    ({"label": "liver", "roi": [1, 2, 3, 4, 5]}, 422, "six numbers"),
    ({"label": "liver", "roi": "everything"}, 422, "six numbers"),
    ({"label": "liver", "roi": [99, 120, 3, 9, 0, 5]}, 422, "outside the volume"),
    ({"label": "liver", "roi": [float("nan"), 9, 3, 9, 0, 5]}, 422, "all finite"),
    ({"label": "liver", "foreground": [[1, 1, 99]]}, 422, r"point \[1, 1, 99\] lies outside"),
    ({"label": "liver", "foreground": [[1, float("inf"), 1]]}, 422, "all finite"),
    ({"label": "liver", "foreground": [[1, 1]]}, 422, "points"),
    ({"label": "liver", "foreground": {"x": 1}}, 422, "must be a list"),
    ({"label": "liver", "foreground": [[1, 1, 1]] * 20000}, 422, "at most 1000"),
    ({"label": ["liver"], "roi": ROI}, 422, "unknown label"),
    ({"rois": [1], "label": "liver"}, 422, "box to each organ"),
    ({"label": "liver", "roi": ROI, "tuned": "nobody"}, 422, "unknown tuned part"),
    ({"label": "liver", "roi": ROI, "tuned": "../../etc/passwd"}, 422, "unknown tuned part"),
    ({"label": "liver", "roi": ROI, "result_extension": "/../x.sh"}, 422, "result_extension"),
    ({"label": "liver", "roi": ROI, "image": "/etc/passwd"}, 404, "not in the datastore"),
    ({"label": "liver", "coarse": "/etc/passwd"}, 422, "place a foreground point"),
    ({"prompt_tag": "nothing"}, 422, "no label of tag"),
    ({"draft_tag": "nothing", "label": "liver", "roi": ROI}, 422, "no label of tag"),
    ({"label": "liver", "undo": True}, 422, "nothing to undo"),
    ({"label": "liver", "roi": ROI, "fixed": [99]}, 422, "list of slices"),
]


@pytest.mark.parametrize(("params", "status", "message"), MALFORMED)
def test_malformed_request_is_told(server: Server, params: dict, status: int, message: str) -> None:
    response = post(server, "samparser", "case_0", **params)
    assert response.status_code == status
    assert re.search(message, response.json()["detail"])
    assert "\n" not in response.json()["detail"]


def test_malformed_calls_are_4xx_and_the_server_stays(server: Server, tmp_path: Path) -> None:
    url = server.url
    junk = {"file": ("x.nii.gz", b"not a volume")}
    good = {"params": json.dumps({"label": "liver", "roi": ROI})}
    truth = save_volume(tmp_path / "label.nii.gz", ct(0)[1]).read_bytes()
    label = {"label": ("label.nii.gz", truth)}
    calls = [
        ("post", "/infer/samparser?image=case_0", {"data": {"params": "{not json"}}),
        ("post", "/infer/samparser?image=case_0", {"data": {"params": "[1, 2]"}}),
        ("post", "/infer/samparser?image=case_0", {"data": {"params": "7"}}),
        ("post", "/infer/nobody?image=case_0", {"data": good}),
        ("post", "/infer/samparser?image=nobody", {"data": good}),
        ("post", "/infer/samparser?image=../../etc/passwd", {"data": good}),
        ("post", "/infer/samparser?image=/etc/passwd", {"data": good}),
        ("post", "/infer/samparser?image=x&session_id=../..", {"data": good}),
        ("post", "/infer/wsi/samparser?image=/etc/passwd", {"json": {}}),
        ("post", "/infer/samparser?image=x", {"data": good, "files": junk}),
        ("put", "/datastore/?image=new", {"files": junk}),
        ("put", "/datastore/?image=../../evil", {"files": junk}),
        ("put", "/datastore/label?image=case_0", {"files": {"label": junk["file"]}}),
        ("put", "/datastore/label?image=case_0&tag=../x", {"files": {"label": junk["file"]}}),
        ("put", "/datastore/label?image=nobody", {"files": {"label": junk["file"]}}),
        ("put", "/session/", {"files": {"files": junk["file"]}}),
        ("get", "/session/..%2f..", {}),
        ("get", "/datastore/image?image=../../etc/passwd", {}),
        ("post", "/infer/samparser", {"data": good}),
        ("put", "/datastore/?image=new", {"files": {"file": ("x.png", b"\x89PNG")}}),
        ("put", "/datastore/label?image=case_0", {"files": label, "data": {"params": "[1]"}}),
        ("put", "/datastore/label?image=case_0", {"files": label, "data": {"params": "{no"}}),
        ("put", "/datastore/image/info?image=case_0", {"data": {"info": "[1]"}}),
        ("put", "/datastore/label/info?label=case_0&tag=final", {"data": {"info": "[1]"}}),
        ("delete", "/datastore/label?id=nobody&tag=final", {}),
        ("delete", "/datastore/image?id=nobody", {}),
        ("get", "/datastore/dataset", {}),
        ("put", "/model/samparser", {"files": junk}),
        ("post", "/train/samparser", {"json": {"max_epochs": "many"}}),
        ("post", "/train/samparser", {"json": {"name": "../x"}}),
        ("post", "/train/samparser", {"json": {}}),
        ("post", "/train/nobody", {"json": {}}),
        ("post", "/batch/infer/nobody", {"json": {}}),
        ("post", "/activelearning/nobody", {"json": {}}),
    ]
    for method, path, options in calls:
        response = requests.request(method, url + path, timeout=60, **options)
        assert 400 <= response.status_code < 500, (path, response.status_code, response.text)
    assert post(server, "samparser", "case_0", label="liver", roi=ROI).ok
    assert not list(server.folder.rglob("*evil*"))
    assert temporary_files(server) == []


def named_part(path: Path) -> Path:
    """Write a tuned part that knows liver and kidney by name."""
    network = with_names(methods.coefficients(build("tiny")), ["liver", "kidney"])
    network.named_prompts.tokens.data.fill_(1e-3)
    save_tuned(path, network, {"labels": {"liver": 1, "kidney": 2}}, network.state_dict())
    return path


def test_organs_by_name_need_a_model_that_has_learned_them(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    assert "samparser_auto" not in client.info()["models"]
    refused = post(server, "samparser_auto", "case_0")
    assert refused.status_code == 422
    assert "train with the option names" in refused.json()["detail"]
    versions = Versions(server.bundle)
    history = versions.index.read_text() if versions.index.exists() else None
    row = {"name": "named", "accepted": True, "dsc_after": 50.0}
    versions.add(named_part(tmp_path / "named.safetensors"), row)
    try:
        auto = client.info()["models"]["samparser_auto"]
        assert auto["type"] == "segmentation"
        assert auto["labels"] == {"liver": 1, "kidney": 2}
        told = post(server, "samparser_auto", "case_0").json()
        assert [row["organ"] for row in told["organs"]] == ["liver", "kidney"]
        assert set(told["label_names"]) == {r["organ"] for r in told["organs"] if r["slices"]}
        only = post(server, "samparser_auto", "case_0", organs=["kidney"]).json()
        assert [row["organ"] for row in only["organs"]] == ["kidney"]
        answers = requests.post(
            f"{server.url}/batch/infer/samparser_auto?run_sync=true", json={}, timeout=300
        ).json()
        assert answers.keys() == {f"case_{n}" for n in range(3)}
        assert "slice" in client.next_sample("least_sure", {})
    finally:
        versions.path("named").unlink()
        versions.index.write_text(history or "[]")
    assert "samparser_auto" not in client.info()["models"]


def test_training_goes_on_with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path, "tiny")
    monkeypatch.syspath_prepend(bundle / "label_app")
    from lib.runs import Runs
    from lib.train import Tuner

    model = Model(bundle, {"labels": {"liver": 1, "kidney": 2}})
    start = named_part(tmp_path / "named.safetensors")
    model.versions.add(start, {"name": "named", "accepted": True})
    items = [
        {
            **{"case": c, "patient": c, "info": {}, "every_slice": True},
            "image": str(save_volume(tmp_path / f"image_{c}.nii.gz", ct(n)[0])),
            "label": str(save_volume(tmp_path / f"label_{c}.nii.gz", ct(n)[1])),
        }
        for n, c in enumerate("ab")
    ]
    split = {"train": items[:1], "validation": items[1:]}
    Tuner(model, Runs(bundle))._train("named", split, tmp_path / "work", 1, names=True)
    tensors, about = read_tuned(tmp_path / "work" / "models" / "tuned.safetensors")
    assert about["names"] == ["liver", "kidney"]
    moved = tensors["named_prompts.tokens"] - read_tuned(start)[0]["named_prompts.tokens"]
    assert moved.abs().max() > 0


def temporary_files(server: Server) -> list[str]:
    """Return what requests have left in the server's own folder for such files."""
    for owner in Path(tempfile.gettempdir()).glob("samparser_label_*/owner.json"):
        if json.loads(owner.read_text())["pid"] == server.process.pid:
            for _ in range(50):  # they go after the answer has come
                if not (left := list(owner.parent.glob("samparser_requests_*/*"))):
                    break
                time.sleep(0.1)
            return [path.name for path in left]
    raise FileNotFoundError


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_other_pages_and_hosts_are_refused(server: Server, method: str, headers: dict) -> None:
    asked = {**headers, "Access-Control-Request-Method": "DELETE"}
    response = requests.request(
        method, f"{server.url}/datastore/image?id=case_0", headers=asked, timeout=30
    )
    assert response.status_code in (400, 403)
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert (server.folder / "studies" / "case_0.nii.gz").exists()


def test_own_pages_are_answered(server: Server) -> None:
    for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert requests.get(f"{server.url}/info/", headers=headers, timeout=30).ok


@pytest.mark.parametrize("chunked", [False, True])
def test_too_much_is_told(server: Server, chunked: bool) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.nii.gz"\r\n\r\n'
    body = head + b"x" * 3_000_000 + b"\r\n--x--\r\n"
    response = requests.put(
        f"{server.url}/datastore/?image=large",
        data=iter([body]) if chunked else body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        timeout=60,
    )
    assert response.status_code == 413
    assert "upload_gb" in response.json()["detail"]


def test_uploads_keep_their_names_and_replace_nothing(server: Server, tmp_path: Path) -> None:
    url, content = f"{server.url}/datastore/", save_volume(tmp_path / "x.nii.gz", ct(8)[0])

    def put(image: str | None, name: str = "x.nii.gz") -> requests.Response:
        asked = {} if image is None else {"image": image}
        files = {"file": (name, content.read_bytes())}
        return requests.put(url, params=asked, files=files, timeout=60)

    given = "2: CT AbdPel 5.0"
    kept = [put(None, "CT 1.25 mm.nii.gz"), put(None, "CT 1.5 mm.nii.gz"), put(given)]
    assert [r.json()["given"] for r in kept] == ["CT 1.25 mm", "CT 1.5 mm", given]
    assert post(server, "samparser_slice", given, label="liver", roi=ONE_SLICE).ok
    assert put(given).status_code == 409
    assert put("case_0").status_code == 409
    assert put("").status_code == 422
    for response in kept:
        image = {"id": response.json()["image"]}
        assert requests.delete(f"{url}image", params=image, timeout=30).ok
    assert temporary_files(server) == []


def test_500_mixed_requests_of_three_threads(server: Server) -> None:
    """No error, nothing mixed, and no growth."""
    process, url = psutil.Process(server.process.pid), server.url
    points = {"liver": [14, 22, 3], "kidney": [30, 12, 2], "spleen": [40, 30, 1]}

    def answer(model: str, case: str, **params: Any) -> Callable:
        return lambda: post(server, model, case, output="image", **params)

    asks: list[tuple[int, Callable]] = []
    for n in range(3):
        case = f"case_{n}"
        clicks = [
            answer("samparser_slice", case, label=organ, foreground=[point])
            for organ, point in points.items()
        ]
        boxes = [
            answer("samparser", case, label="liver", roi=ROI),
            answer("samparser_slice", case, label="liver", roi=ONE_SLICE),
        ]
        asks += [(200, ask) for ask in (*clicks, *boxes)]
        asks.append((422, answer("samparser", case, roi=[1, 2])))
    asks.append((200, lambda: requests.get(f"{url}/info/", timeout=60)))
    asks.append(
        (200, lambda: requests.post(f"{url}/activelearning/least_sure", json={}, timeout=60))
    )

    def voxels(response: requests.Response) -> bytes:
        packed = response.content[:2] == b"\x1f\x8b"
        return gzip.decompress(response.content) if packed else b""

    alone = [voxels(ask()) for _, ask in asks]
    assert len(set(alone)) > 12
    order = random.Random(0).choices(range(len(asks)), k=560)

    def asked(n: int) -> bool:
        status, ask = asks[n]
        response = ask()
        return response.status_code == status and voxels(response) == alone[n]

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(asked, order[:60]))
        before = process.memory_info().rss
        begun = time.monotonic()
        assert all(threads.map(asked, order[60:]))
    growth = process.memory_info().rss / before - 1
    seconds = time.monotonic() - begun
    print(f"500 in {seconds:.0f} s, memory {before / 1e6:.0f} MB, growth {100 * growth:.1f} %")
    assert growth < 0.05


def person(client: MONAILabelClient, name: str) -> MONAILabelClient:
    """Return a client of a person."""
    return MONAILabelClient(client._server_url, client_id=name)


def save_final(client: MONAILabelClient, folder: Path, n: int, scrambled: bool = False) -> None:
    """Save the truth of a synthetic volume, numbered as in the viewer's list if scrambled."""
    values = ct(n)[1]
    info = None
    if scrambled:
        values = np.choose(values, [0, 2, 1]).astype(np.uint8)
        info = {"label_info": [{"name": "kidney", "idx": 1}, {"name": "liver", "idx": 2}]}
    path = save_volume(folder / f"label_{n}.nii.gz", values)
    person(client, "ann").save_label(f"case_{n}", str(path), "final", info)


def finished(client: MONAILabelClient) -> dict:
    """Wait for the task in the background, and return what it says."""
    for _ in range(400):
        status = client.train_status(check_if_running=False)
        if status["status"] not in ("SUBMITTED", "RUNNING"):
            return status
        time.sleep(1)
    raise TimeoutError


def test_training_is_versioned_and_the_better_one_answers(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    def asked(**more: Any) -> np.ndarray:
        params = {"label": "liver", "roi": ONE_SLICE, **more}
        return mask_of(server, "samparser_slice", "case_2", **params)

    before = asked()
    for n in (0, 1):
        save_final(client, tmp_path, n, scrambled=n == 1)
    client.train_start("samparser", {"max_epochs": 3, "name": "first"})
    status = finished(client)
    assert status["status"] == "DONE", status["details"]
    (row,) = json.loads((server.bundle / "models/tuned/versions.json").read_text())
    assert (row["name"], row["parent"], row["labels"]) == ("first", "start", 2)
    assert row["accepted"] == (row["dsc_after"] > row["dsc_before"])
    assert row["accepted"], "the untrained network of the tests is easily bettered"
    assert {case: one["sides"] for case, one in row["learned_from"].items()}.keys() == {
        "case_0",
        "case_1",
    }
    assert row["learned_from"]["case_0"]["by"] == "ann"
    assert row["organs"]["liver"].keys() == {"before", "after"}
    assert "liver: DSC" in "".join(status["details"])
    told = post(server, "samparser", "case_2", label="liver", roi=ROI).json()
    assert told["tuned"] == "first"
    after = asked()
    assert np.array_equal(asked(tuned="start"), before)
    assert not np.array_equal(after, before)
    assert np.array_equal(asked(tuned=["latest", "x"]), after)
    assert client.info()["train_stats"]["samparser"]["dsc_after"] == row["dsc_after"]
    switch = f"{server.url}/tuned/"
    assert requests.post(switch + "start", timeout=30).json() == {"answers": "start"}
    assert np.array_equal(asked(), before)
    assert requests.post(switch + "nobody", timeout=30).status_code == 422
    assert requests.post(switch + "first", timeout=30).ok
    assert np.array_equal(asked(), after)
    told = requests.get(switch, timeout=30).json()
    assert told["answers"] == "first"
    assert told["history"][0]["organs"] == row["organs"]
    assert [one["name"] for one in told["history"]] == ["first", "start", "first"]


@pytest.mark.parametrize(("after", "answers"), [(89.0, "start"), (90.0, "start"), (91.0, "new")])
def test_only_a_better_model_takes_over(
    after: float, answers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path, "tiny")
    monkeypatch.syspath_prepend(bundle / "label_app")
    from lib import train
    from lib.model import Model
    from lib.runs import Runs

    class Known(train.Tuner):
        def _train(
            self, parent: str, split: dict, work: Path, epochs: int, names: bool
        ) -> tuple[dict, dict]:
            (work / "models").mkdir()
            (work / "models" / "tuned.safetensors").write_bytes(b"")
            return {"liver": 90.0, "mean": 90.0}, {"liver": after, "mean": after}

    path = save_volume(tmp_path / "label.nii.gz", ct(0)[1])
    items = [{"case": c, "patient": c, "image": "", "label": str(path), "info": {}} for c in "ab"]
    monkeypatch.setattr(train, "labelled", lambda datastore, pattern: items)
    told = {"organs": {"liver": 7}, "left_out": {}}
    monkeypatch.setattr(train, "check_labels", lambda *given: dict.fromkeys("ab", told))
    model = Model(bundle)
    row = Known(model, Runs(bundle))({"name": "new"}, None)
    assert row["accepted"] == (answers == "new")
    assert model.versions.resolve("latest") == answers
    assert ("new" in model.versions.names()) == row["accepted"]
    assert [r["dsc_after"] for r in model.versions.history()] == [after]
    assert row["organs"] == {"liver": {"before": 90.0, "after": after}}
    sides = [one["sides"] for one in row["learned_from"].values()]
    assert sorted(sides) == [["train"], ["validation"]]


def test_killed_training_leaves_the_old_model(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    save_final(client, tmp_path, 0)
    history = (server.bundle / "models/tuned/versions.json").read_text()
    answered = post(server, "samparser", "case_2", label="liver", roi=ROI).json()["tuned"]
    client.train_start("samparser", {"max_epochs": 500, "name": "killed"})
    for _ in range(120):
        work = list(server.bundle.glob("eval/label/*/models/checkpoint*"))
        if client.train_status(check_if_running=False)["status"] == "RUNNING" and work:
            break
        time.sleep(0.5)
    client.train_stop()
    assert finished(client)["status"] in ("STOPPED", "ERROR")
    assert not list(server.bundle.glob("eval/label/*/models"))
    assert not (server.bundle / "eval/label/running.json").exists()
    assert (server.bundle / "models/tuned/versions.json").read_text() == history
    told = post(server, "samparser", "case_2", label="liver", roi=ROI).json()
    assert told["tuned"] == answered


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_killed_server_takes_its_training_with_it(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    save_final(client, tmp_path, 0)
    first = Server(server.folder, server.bundle, str(server.folder / "studies"))
    first.wait()
    MONAILabelClient(first.url).train_start("samparser", {"max_epochs": 500, "name": "orphan"})
    note = server.bundle / "eval/label/running.json"
    for _ in range(240):
        if note.exists():
            break
        time.sleep(0.5)
    told = json.loads(note.read_text())
    first.process.kill()
    first.process.wait(30)
    assert alive(told["process"]["pid"])
    again = Server(server.folder, server.bundle, str(server.folder / "studies"))
    again.wait()
    again.stop()
    assert not alive(told["process"]["pid"])
    assert not note.exists()
    assert not (note.parent / told["work"]).exists()
    with pytest.raises(FileNotFoundError):
        temporary_files(first)


def test_batch_scoring_and_least_sure(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    for n in range(3):
        path = save_volume(tmp_path / f"coarse_{n}.nii.gz", ct(n)[1])
        client.save_label(f"case_{n}", str(path), "coarse")
    answers = requests.post(
        f"{server.url}/batch/infer/samparser?run_sync=true", json={"device": "cpu"}, timeout=300
    ).json()
    assert answers.keys() == {f"case_{n}" for n in range(3)}
    for n in range(3):
        original = server.folder / "studies" / "labels" / "original" / f"case_{n}.nii.gz"
        assert np.asanyarray(nib.load(original).dataobj).any()
    for n in (0, 1):
        save_final(client, tmp_path, n)
    scores = requests.post(f"{server.url}/scoring/dsc?run_sync=true", json={}, timeout=300).json()
    assert scores.keys() == {"case_0", "case_1"}
    assert scores["case_0"].keys() <= {"liver", "kidney", "spleen", "pancreas"}
    proposed = client.next_sample("least_sure", {})
    assert proposed["id"] == "case_2"
    assert 0 <= proposed["slice"] < SHAPE[2]
