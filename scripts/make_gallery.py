"""The pictures of docs/gallery: demonstrations of the way from files to a picture, no results.

    python scripts/make_gallery.py [NAME ...] [--key value ...]

abdomen_ct, curve and spectrum are of what `make train` does, volume is what published MobileSAM
makes of a box on one slice. The others train in a scenario for three epochs: coco, voc and custom
on photographs of scikit-image, the rest on synthetic pictures. Keys go to the training.
"""

import base64
import json
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from demonstration.layouts import LAYOUTS
from PIL import Image

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import replacing
from samparser_monai.monai_command import command, finished
from samparser_monai.tuned.part import open_tuned
from samparser_monai.tuned.spectrum_report import draw_spectra, spectra_of
from samparser_monai.volumes.demonstration import demonstration_dir, fetch_demonstration

FOLDER = Path("docs/gallery")
ORGANS = {"liver": 1, "spleen": 3}
FIRST = ["--epochs", "8", "--train_size", "20", "--val_interval", "2"]  # as in Makefile


def trained(folder: Path, given: list[str]) -> Path:
    """Train and evaluate in a folder, and return its first overlay."""
    for run_id in ("training", "evaluating"):
        arguments = [run_id, "--bundle_root", str(folder), *given]
        finished(command(arguments, ignore=True), folder / "log.txt")
    return min((folder / "eval" / "overlays").glob("*.png"))


def scenario(name: str, folder: Path, options: list[str]) -> dict[str, Path]:
    """Train in a scenario on a small data set in its layout; show what was held out."""
    data = folder / "data"
    LAYOUTS[name](data)
    where = ["--dataset_dir", str(data)]
    if name == "custom":
        where = ["--images", str(data / "images"), "--masks", str(data / "masks")]
    given = ["--scenario", name, *where, "--epochs", "3", *options]
    return {name: trained(folder, given)}


def abdomen_ct(folder: Path, options: list[str]) -> dict[str, Path]:
    """Tune on one scan of the demonstration CT; show the other, the curve and the coefficients."""
    fetch_demonstration()
    overlay = trained(folder, [*FIRST, *options])
    network, _ = open_tuned(folder / "models" / "tuned.safetensors")
    draw_spectra(spectra_of(network), folder / "spectrum.png")
    curve, spectrum = folder / "eval" / "curve.png", folder / "spectrum.png"
    return {"abdomen_ct": overlay, "curve": curve, "spectrum": spectrum}


def volume(folder: Path, options: list[str]) -> dict[str, Path]:
    """Segment organs of the demonstration CT from a box each, on the slice that shows them best."""
    fetch_demonstration()
    label = nib.load(demonstration_dir() / "labels" / "fine.nii.gz")
    values, prompts = np.asanyarray(label.dataobj), []
    for organ, value in ORGANS.items():
        k = int((values == value).sum((0, 1)).argmax())
        rows, columns = np.nonzero(values[..., k] == value)
        corners = [[rows.min(), columns.min(), k], [rows.max(), columns.max(), k]]
        box = nib.affines.apply_affine(label.affine, corners).ravel().tolist()
        prompts.append({"label": organ, "box": box, "frame": "RAS"})
    (folder / "boxes.json").write_text(json.dumps({"fine": prompts}), encoding="utf-8")
    given = ["--dataset_dir", str(demonstration_dir() / "images" / "fine"), "--tuned", "published"]
    given += ["--prompts", str(folder / "boxes.json"), "--output_dir", str(folder / "out")]
    finished(command(["inference", *given, *options]), folder / "log.txt")
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    (shown,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    (folder / "volume.png").write_bytes(base64.b64decode(shown))
    return {"volume": folder / "volume.png"}


MAKERS: dict[str, Callable[[Path, list[str]], dict[str, Path]]] = {
    "abdomen_ct": abdomen_ct,
    "volume": volume,
    **{name: partial(scenario, name) for name in LAYOUTS},
}


def save(found: Path, path: Path) -> None:
    """Save a picture in few colours and at a size for a page."""
    picture = Image.open(found).convert("RGB")
    picture.thumbnail((960, 960))
    with replacing(path) as temporary:
        picture.quantize(200, Image.Quantize.MAXCOVERAGE).save(temporary, optimize=True)


def main() -> int:
    """Make the pictures that are named, or all."""
    arguments = sys.argv[1:]
    first = next((n for n, a in enumerate(arguments) if a.startswith("--")), len(arguments))
    try:
        for name in arguments[:first] or MAKERS:
            if name not in MAKERS:
                raise unknown("picture", name, MAKERS)
            with tempfile.TemporaryDirectory(prefix="gallery_") as folder:
                for picture, found in MAKERS[name](Path(folder), arguments[first:]).items():
                    save(found, FOLDER / f"{picture}.png")
                    print(FOLDER / f"{picture}.png", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
