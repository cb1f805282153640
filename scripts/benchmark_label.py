"""Time a running MONAI Label server on the demonstration CT, as a clinician waits for it.

    python scripts/benchmark_label.py [--url http://127.0.0.1:8000] [--epochs N]

Prints the median seconds of the first answer on a slice and of the further clicks on it, the
seconds of a whole volume, and, with ``--epochs``, of a training on the 20 labelled slices.
"""

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import requests

from samparser_monai.volumes.demonstration import demonstration_dir
from samparser_monai.volumes.reading import read_oriented

IMAGE, LIVER = "fine", 1


def ask(url: str, model: str, **params: Any) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a Smart Edit request, its answer downloaded, and what it says."""
    params |= {"label": "liver", "result_extension": ".nrrd", "result_dtype": "uint8"}
    begun = time.monotonic()
    response = requests.post(
        f"{url}/infer/{model}", params={"image": IMAGE}, data={"params": json.dumps(params)}
    )
    response.raise_for_status()
    told = response.content.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
    return time.monotonic() - begun, json.loads(told)


def clicks(url: str, truth: np.ndarray) -> dict[str, Any]:
    """Return the medians of first and further clicks, on every other slice."""
    first, further = [], []
    for k in range(1, truth.shape[2], 2):
        voxels = np.argwhere(truth[:, :, k] == LIVER)
        low, high = voxels.min(0).tolist(), voxels.max(0).tolist()
        roi = [low[0], high[0], low[1], high[1], k, k]
        inside = [*voxels[len(voxels) // 2].tolist(), k]
        for n in range(4):
            seconds, told = ask(
                url, "samparser_slice", roi=roi, slice=k, foreground=[inside] if n else []
            )
            if n == 0 and told["computed_slices"] == 1:
                first.append(seconds)
            elif n:
                further.append(seconds)
    return {
        "first_answer_s": round(statistics.median(first), 2) if first else None,
        "further_click_s": round(statistics.median(further), 2),
        "slices": len(first),
    }


def training(url: str, truth: str, epochs: int) -> dict[str, Any]:
    """Save the labels as final, train, and return the seconds and the verdict."""
    with open(truth, "rb") as label:
        saved = requests.put(
            f"{url}/datastore/label", params={"image": IMAGE}, files={"label": label}
        )
    saved.raise_for_status()
    begun = time.monotonic()
    requests.post(f"{url}/train/samparser", json={"max_epochs": epochs}).raise_for_status()
    while (status := requests.get(f"{url}/train/").json())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(1)
    stats = requests.get(f"{url}/info/").json()["train_stats"]["samparser"]
    stats.pop("history")
    return {"training_s": round(time.monotonic() - begun), "status": status["status"], **stats}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--epochs", type=int, default=0)
    options = parser.parse_args()
    path = demonstration_dir() / "labels" / f"{IMAGE}.nii.gz"
    truth = read_oriented(path).numpy()[0]  # along LPS, as the study is
    print(json.dumps(clicks(options.url, truth)), flush=True)
    low, high = np.argwhere(truth == LIVER).min(0), np.argwhere(truth == LIVER).max(0)
    roi = [int(n) for pair in zip(low, high, strict=True) for n in pair]
    seconds, told = ask(options.url, "samparser", roi=roi)
    print(json.dumps({"volume_s": round(seconds, 1), "organs": told["organs"]}), flush=True)
    if options.epochs:
        print(json.dumps(training(options.url, str(path), options.epochs)), flush=True)


if __name__ == "__main__":
    main()
