"""OHIF in a browser, Orthanc as the DICOMweb server: load, segment, edit, save, reload.

Debian's packages orthanc, orthanc-dicomweb and chromium; SCREENSHOTS names a folder for pictures.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import SimpleITK as sitk

sync_api = pytest.importorskip("playwright.sync_api", reason="see make test-label")
import highdicom  # noqa: E402
import pydicom  # noqa: E402
import requests  # noqa: E402
from conftest import ROOT  # noqa: E402
from label_server import Server, free_port, make_bundle  # noqa: E402
from pydicom.sr.codedict import codes  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))
from lib.model import Versions  # noqa: E402

from samparser_monai import methods  # noqa: E402
from samparser_monai.sam import build  # noqa: E402
from samparser_monai.sam.named_prompts import with_names  # noqa: E402
from samparser_monai.tuned.part import save_tuned  # noqa: E402
from samparser_monai.volumes.demonstration import demonstration_dir  # noqa: E402

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SERIES = demonstration_dir() / "images" / "fine"
CHROMIUM = shutil.which("chromium")
FLAGS = [  # no GPU, no network
    *("--no-sandbox", "--no-first-run", "--disable-quic", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not PLUGIN.exists(), reason="needs orthanc and orthanc-dicomweb"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.skipif(not SERIES.exists(), reason="needs the demonstration CT"),
]


def completed(path: Path) -> bytes:
    """Return a file of the demonstration CT, uncompressed, with the UIDs that were taken out."""
    found = pydicom.dcmread(path)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    values = (values - float(found.RescaleIntercept)) / float(found.RescaleSlope)
    found.PixelData = values.round().astype("<u2").tobytes()
    found["PixelData"].VR, found["PixelData"].is_undefined_length = "OW", False
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.is_little_endian, found.is_implicit_VR = True, False
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID
    for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(found, key, generate_uid(entropy_srcs=[key]))
    found.PatientID = found.PatientName = "demonstration"
    found.StudyDate, found.StudyTime = "20200101", "120000"
    buffer = io.BytesIO()
    found.save_as(buffer)
    return buffer.getvalue()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[str]:
    """Start a DICOMweb server on this machine that has the demonstration series."""
    port = free_port()
    options = {
        **{"HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False},
        **{"StorageDirectory": str(tmp_path), "IndexDirectory": str(tmp_path)},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(options))
    process = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")])
    url = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            requests.get(f"{url}/system", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.5)
    for path in SERIES.iterdir():
        assert requests.post(f"{url}/instances", data=completed(path), timeout=60).ok
    yield f"{url}/dicom-web"
    process.terminate()
    process.wait(30)


@pytest.fixture
def server(tmp_path: Path, orthanc: str) -> Iterator[Server]:
    bundle = Path(os.environ.get("BUNDLE") or make_bundle(tmp_path, "mobile_sam")).resolve()
    network = with_names(methods.coefficients(build("mobile_sam")), ["liver", "spleen"])
    network.named_prompts.tokens.data.fill_(1e-3)  # as if it were taught
    named = bundle / "models" / "tuned" / "named.safetensors"
    named.parent.mkdir(exist_ok=True)
    save_tuned(named, network, {"labels": {"liver": 1, "spleen": 3}}, network.state_dict())
    Versions(bundle).switch("named", "a test")
    running = Server(tmp_path, bundle, orthanc)
    running.wait()
    yield running
    running.stop()


class Viewer:
    """OHIF with the demonstration study, as a person uses it.

    Args:
        page: of the browser.
        url: of the server.
        pictures: folder of screenshots.
    """

    def __init__(self, page: sync_api.Page, url: str, pictures: Path) -> None:
        self.page, self.url, self.pictures = page, url, pictures
        self.study = generate_uid(entropy_srcs=["StudyInstanceUID"])
        page.set_default_timeout(300_000)
        with self.timed("load"):
            page.goto(f"{url}/ohif/monai-label?StudyInstanceUIDs={self.study}")
            page.get_by_text("Confirm and Hide").click()
            page.get_by_text("CT Body 3.0").first.wait_for()
            page.wait_for_load_state("networkidle")  # the slices come one after the other
        page.fill("input[name=monailabelServerURL]", f"{url}/")
        page.click(".monaiLabelPanel button")

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Say how long something took, and take a picture of it."""
        begun = time.monotonic()
        yield
        print(f"{what}: {time.monotonic() - begun:.1f} s")
        self.page.wait_for_timeout(3_000)
        self.page.screenshot(path=self.pictures / f"ohif_{what.replace(' ', '_')}.png")

    def panel(self, title: str) -> sync_api.Locator:
        """Open a tab of MONAI Label's panel."""
        self.page.get_by_text(title).first.click()
        return self.page.locator(".tab", has_text=title).first

    def run(self, panel: sync_api.Locator, model: str) -> sync_api.Response:
        """Press Run, and return the answer."""
        with self.page.expect_response(f"**/infer/{model}**") as answered:
            panel.get_by_role("button", name="Run").click()
        return answered.value

    def choose(self, name: str, option: str) -> None:
        """Tick an option of a model."""
        self.page.get_by_text("Options / Configurations").click()
        dialog = self.page.locator(".optionsForm")
        dialog.locator("select[name=selectName]").select_option(name)
        row = dialog.locator("tr", has_text=option)
        row.locator("input[type=checkbox]").last.check()
        self.page.get_by_text("Confirm", exact=True).last.click()


def test_load_segment_edit_save_and_reload(server: Server, orthanc: str, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("SCREENSHOTS", tmp_path))
    with sync_api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        viewer = Viewer(page, server.url, pictures)

        names = viewer.panel("Auto-Segmentation")
        with viewer.timed("by name"):
            assert viewer.run(names, "samparser_auto").ok
            page.get_by_text("Successful").first.wait_for()

        points = viewer.panel("Point Prompts")
        points.locator("select").select_option("samparser")
        points.get_by_role("cell", name="kidney").click()
        with viewer.timed("refused"):
            assert viewer.run(points, "samparser").status == 422
            reason = page.get_by_role("alert").filter(has_text="for label 'kidney'")
            reason.wait_for()

        points.locator("select").select_option("samparser_slice")
        points.get_by_role("cell", name="liver").click()
        page.mouse.click(400, 485)  # in the liver on the axial view
        page.wait_for_timeout(2_000)
        with viewer.timed("by click"):
            answer = viewer.run(points, "samparser_slice")
            assert answer.ok
            assert "foreground" in (answer.request.post_data or "")
        assert not reason.is_visible()
        first = answer.body()

        points.get_by_role("cell", name="background").click()
        page.mouse.click(440, 540)  # in the spine
        page.wait_for_timeout(2_000)
        viewer.choose("samparser_slice", "save")
        points.get_by_role("cell", name="liver").click()
        with viewer.timed("edited and saved"):
            answer = viewer.run(points, "samparser_slice")
            assert answer.ok, answer.text()
        assert answer.body() != first

        query = f"{orthanc}/studies/{viewer.study}/series?Modality=SEG"
        (series,) = requests.get(query, timeout=60).json()
        with viewer.timed("reloaded"):
            page.goto(f"{server.url}/ohif/viewer?StudyInstanceUIDs={viewer.study}")
            page.get_by_text("SEG", exact=True).first.wait_for()
        browser.close()

    uid = series["0020000E"]["Value"][0]
    (kept,) = requests.get(
        f"{orthanc}/studies/{viewer.study}/series/{uid}/instances", timeout=60
    ).json()
    instance = kept["00080018"]["Value"][0]
    found = requests.get(
        f"{orthanc}/studies/{viewer.study}/series/{uid}/instances/{instance}",
        headers={"Accept": "multipart/related; type=application/dicom"},
        timeout=60,
    )
    body = found.content.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    segmentation = highdicom.seg.segread(io.BytesIO(body))
    (segment,) = (segmentation.get_segment_description(n) for n in segmentation.segment_numbers)
    assert segment.segment_label == "liver"
    assert segment.segmented_property_type == codes.SCT.Liver
