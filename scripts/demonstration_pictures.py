"""The pictures of docs/scenarios: small data sets in the true layouts, trained on, looked at.

    python scripts/demonstration_pictures.py [SCENARIO ...] [--epochs 3 --key value ...]

coco and voc show photographs of scikit-image outlined by hand, the others synthetic pictures:
demonstrations of the way from files to a picture, no results.
"""

import sys
import tempfile
from pathlib import Path

from demonstration.layouts import LAYOUTS
from PIL import Image

from samparser_monai.errors import InputError, unknown
from samparser_monai.files import replacing
from samparser_monai.monai_command import command, finished

FOLDER = Path("docs/scenarios")


def make(scenario: str, options: list[str]) -> Path:
    """Train in a scenario on its demonstration and return the picture of what was held out."""
    with tempfile.TemporaryDirectory(prefix="demonstration_") as name:
        folder = Path(name)
        LAYOUTS[scenario](folder / "data")
        given = ["--scenario", scenario, "--dataset_dir", str(folder / "data")]
        given += ["--bundle_root", name, *options]
        for run_id in ("training", "evaluating"):
            finished(command([run_id, *given], ignore=True), folder / "log.txt")
        overlay = next((folder / "eval" / "overlays").glob("*.png"))
        picture = Image.open(overlay).convert("RGB")
        picture.thumbnail((720, 720))
        with replacing(FOLDER / f"{scenario}.png") as temporary:
            picture.quantize(200, Image.Quantize.MAXCOVERAGE).save(temporary, optimize=True)
    return FOLDER / f"{scenario}.png"


def main() -> int:
    """Make the pictures of the scenarios that are named, or all."""
    arguments = sys.argv[1:]
    first = next((n for n, a in enumerate(arguments) if a.startswith("--")), len(arguments))
    try:
        for scenario in arguments[:first] or LAYOUTS:
            if scenario not in LAYOUTS:
                raise unknown("scenario", scenario, LAYOUTS)
            print(make(scenario, arguments[first:]), flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
