"""Time a running MONAI Label server on the demonstration CT, as a clinician waits for it.

    python scripts/benchmark_label.py [--url http://127.0.0.1:8000] [--epochs N]
    python scripts/benchmark_label.py --together URL [URL ...]
    PYTHONPATH=. .venv-label/bin/python scripts/benchmark_label.py --start BUNDLE STUDIES

Prints the median seconds of the first answer on a slice and of the further clicks on it, the
seconds of a whole volume, and, with ``--epochs``, of a training on the 20 labelled slices. With
``--together`` what a second user waits for while a whole volume is computed, for each server. With
``--start`` a server of its own from its start to the first answer, and the clicks after that.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import requests

from samparser_monai.volumes.demonstration import demonstration_dir
from samparser_monai.volumes.reading import read_oriented

IMAGE, OTHER, LIVER = "fine", "coarse", 1


def ask(url: str, model: str, image: str = IMAGE, **params: Any) -> tuple[float, dict[str, Any]]:
    """Return the seconds of a Smart Edit request, its answer downloaded, and what it says."""
    params |= {"label": "liver", "result_extension": ".nrrd", "result_dtype": "uint8"}
    begun = time.monotonic()
    response = requests.post(
        f"{url}/infer/{model}", params={"image": image}, data={"params": json.dumps(params)}
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


def together(url: str, roi: list[int]) -> dict[str, Any]:
    """Return the largest seconds of a second user's requests while a volume is computed."""
    click = {"image": OTHER, "foreground": [[100, 100, 20]]}
    ask(url, "samparser_slice", **click)  # the volume is open, the slice looked at
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(ask, url, "samparser", roi=roi)
        waited: dict[str, list[float]] = {"click": [], "info": [], "logs": []}
        while not whole.done():
            waited["click"].append(ask(url, "samparser_slice", **click)[0])
            for page in ("info", "logs"):
                begun = time.monotonic()
                requests.get(f"{url}/{page}/").raise_for_status()
                waited[page].append(time.monotonic() - begun)
            time.sleep(1)  # people look before they click again
    return {
        "volume_s": round(whole.result()[0], 1),
        "clicks": len(waited["click"]),
        **{f"{kind}_s": round(max(seconds), 2) for kind, seconds in waited.items()},
        **{f"{kind}_median_s": round(statistics.median(s), 3) for kind, s in waited.items()},
    }


def started(bundle: str, studies: str, truth: np.ndarray, roi: list[int]) -> dict[str, Any]:
    """Return the seconds to a new server's first answer, and of clicks of each kind after it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun, url = time.monotonic(), f"http://127.0.0.1:{port}"
    serve = [sys.executable, str(Path(bundle, "label_app", "serve.py")), "--studies", studies]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*serve, "--port", str(port)], env=environment, **quiet)
    try:
        while True:
            try:
                requests.get(f"{url}/info/").raise_for_status()
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        ready = time.monotonic() - begun
        depth = truth.shape[2]
        inside = [np.argwhere(truth[:, :, k] == LIVER) for k in range(depth)]
        clicked = [[*voxels[len(voxels) // 2].tolist(), k] for k, voxels in enumerate(inside)]
        middle, told = depth // 2, {"ready_s": ready}
        ask(url, "samparser_slice", foreground=[clicked[middle]])
        told["first_answer_s"] = time.monotonic() - begun
        more = [clicked[middle], [v + 3 * (n < 2) for n, v in enumerate(clicked[middle])]]
        told["further_click_s"] = ask(url, "samparser_slice", foreground=more)[0]
        told["new_slice_s"] = ask(url, "samparser_slice", foreground=[clicked[middle + 1]])[0]
        time.sleep(5 * depth)  # the others are looked at ahead
        ahead = [ask(url, "samparser_slice", foreground=[clicked[k]])[0] for k in (middle - 2, 3)]
        told["slice_ahead_s"] = max(ahead)
        ask(url, "samparser", roi=roi, client_id="x")
        clicks = [[roi[1] + 3 * n, (roi[2] + roi[3]) // 2, middle] for n in (1, 2, 3)]
        after = [
            ask(url, "samparser", roi=roi, client_id="x", foreground=clicks[: n + 1])[0]
            for n in range(3)
        ]
        told["click_after_volume_s"] = max(after)
        return {kind: round(seconds, 2) for kind, seconds in told.items()}
    finally:
        server.terminate()
        server.wait(30)


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
    parser.add_argument("--together", nargs="+", default=[])
    parser.add_argument("--start", nargs=2, metavar=("BUNDLE", "STUDIES"))
    options = parser.parse_args()
    path = demonstration_dir() / "labels" / f"{IMAGE}.nii.gz"
    truth = read_oriented(path).numpy()[0]  # along LPS, as the study is
    low, high = np.argwhere(truth == LIVER).min(0), np.argwhere(truth == LIVER).max(0)
    roi = [int(n) for pair in zip(low, high, strict=True) for n in pair]
    for url in options.together:
        print(json.dumps({"url": url, **together(url, roi)}), flush=True)
    if options.start:
        print(json.dumps(started(*options.start, truth, roi)), flush=True)
    if options.together or options.start:
        return
    print(json.dumps(clicks(options.url, truth)), flush=True)
    seconds, told = ask(options.url, "samparser", roi=roi)
    print(json.dumps({"volume_s": round(seconds, 1), "organs": told["organs"]}), flush=True)
    if options.epochs:
        print(json.dumps(training(options.url, str(path), options.epochs)), flush=True)


if __name__ == "__main__":
    main()
