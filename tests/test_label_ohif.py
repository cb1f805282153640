"""OHIF in a browser, Orthanc as the DICOMweb server: connect, click, get a segmentation.

Debian's packages orthanc, orthanc-dicomweb and chromium; SCREENSHOTS names a folder for pictures.
"""

import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import SimpleITK as sitk

sync_api = pytest.importorskip("playwright.sync_api", reason="see make test-label")
import pydicom  # noqa: E402
import requests  # noqa: E402
from label_server import Server, free_port, make_bundle  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

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
    bundle = os.environ.get("BUNDLE") or make_bundle(tmp_path, "mobile_sam")
    running = Server(tmp_path, Path(bundle).resolve(), orthanc)
    running.wait()
    yield running
    running.stop()


def test_click_becomes_a_segmentation(server: Server, orthanc: str, tmp_path: Path) -> None:
    pictures = Path(os.environ.get("SCREENSHOTS", tmp_path))
    study = generate_uid(entropy_srcs=["StudyInstanceUID"])
    with sync_api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(f"{server.url}/ohif/monai-label?StudyInstanceUIDs={study}")
        page.get_by_text("Confirm and Hide").click()
        page.get_by_text("CT Body 3.0").first.wait_for()
        page.wait_for_timeout(60_000)  # the slices come one after the other
        page.fill("input[name=monailabelServerURL]", f"{server.url}/")
        page.click(".monaiLabelPanel button")
        page.get_by_text("Point Prompts").first.click()
        panel = page.locator(".tab", has_text="Available Organ(s)").first
        panel.locator("select").select_option("samparser_slice")
        panel.get_by_role("cell", name="liver").click()
        page.wait_for_timeout(3_000)
        page.mouse.click(400, 485)  # in the liver on the axial view
        page.wait_for_timeout(3_000)
        page.screenshot(path=pictures / "ohif_click.png")
        with page.expect_response("**/infer/samparser_slice**") as answered:
            panel.get_by_role("button", name="Run").click()
        assert answered.value.ok
        page.get_by_text("Successful").first.wait_for()
        page.wait_for_timeout(10_000)
        page.screenshot(path=pictures / "ohif_answer.png")
        sent = answered.value.request.post_data or ""
        browser.close()
    assert "foreground" in sent
    one, other = ((pictures / f"ohif_{name}.png").read_bytes() for name in ("click", "answer"))
    assert one != other
