"""A real server process of MONAI Label, with a bundle assembled for it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests
from conftest import ROOT


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """What a test needs of the process: where it listens, works and writes its log."""

    def __init__(
        self, folder: Path, bundle: Path, studies: str, *options: str, **environment: str
    ) -> None:
        self.port = free_port()
        self.url, self.bundle = f"http://127.0.0.1:{self.port}", bundle
        self.folder, self.log = folder, folder / "server.log"
        serve = [sys.executable, str(bundle / "label_app" / "serve.py"), "--studies", studies]
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            **environment,
            "MONAI_LABEL_SESSION_PATH": str(folder / "sessions"),
            "SAMPARSER_CACHE": os.environ.get("SAMPARSER_CACHE", str(folder / "cache")),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*serve, "--port", str(self.port), *options],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds: float = 600) -> None:
        """Return when the server answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if requests.get(f"{self.url}/info/", timeout=5).status_code in (200, 401):
                    return
            except requests.ConnectionError:
                time.sleep(0.5)
        self.stop()
        raise RuntimeError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(30)


def make_bundle(folder: Path, backbone: str) -> Path:
    """Assemble a bundle that carries a backbone as published."""
    command = [sys.executable, "-m", "samparser_monai", "bundle", "--backbone", backbone]
    command += ["--tuned", "published"]  # not what a training has left in the repository
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--output", str(folder)], cwd=ROOT, env=environment, check=True)
    return next(path.parent for path in folder.glob("*/label_app"))
