"""Rehearse a federation with real processes, certificates and what goes wrong, on loopback.

    python scripts/federated_rehearsal.py FOLDER [--cases 2] [--rounds 7] [--set KEY=VALUE ...]

A server and three synthetic sites, provisioned, each site behind a proxy that counts its bytes.
site-2 sends what must not be averaged (federated_poison.py); site-3 is killed in the second round
and started again; later the server is killed, started again and given the job again. What came of
it goes to results/federated_rehearsal/runs.jsonl; every read and write of the proxies, with its
time, site, direction and bytes, to FOLDER/packets.csv.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from federated import ROOT, _allow, key_value
from federated import main as federated
from federated_sites import SCANNERS, make_site

from samparser_monai.federated.folder import FOLDER
from samparser_monai.files import read_json, write_json
from samparser_monai.harness.runs import write_run
from samparser_monai.tuned.part import read_tuned

SERVER, PORT, ADMIN = "localhost", 8002, "admin@example.org"
SITES = {"site-1": 8101, "site-2": 8102, "site-3": 8103}
SIZE = re.compile(r"(?:getTask: (\w+)|SubmitUpdate to).*?\((\d+) Bytes\)")


class Proxy:
    """Pass on what a site and the server say to each other, and note how much.

    Args:
        site: its name.
        log: of (seconds since 1970, site, up or down, bytes).
    """

    def __init__(self, site: str, log: list[tuple[float, str, str, int]]) -> None:
        self.site, self.log = site, log
        listener = socket.create_server(("localhost", SITES[site]))
        self._start(self._accept, listener)

    def _start(self, work: Callable, *args: Any) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            inner, _ = listener.accept()
            try:
                outer = socket.create_connection(("localhost", PORT))
            except OSError:  # the server is down
                inner.close()
                continue
            self._start(self._carry, inner, outer, "up")
            self._start(self._carry, outer, inner, "down")

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                self.log.append((time.time(), self.site, way, len(data)))
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Federation:
    """The machines of a federation, as processes.

    Args:
        folder: of everything.
        cases: of a site.
        keys: of the bundle's configuration.
    """

    def __init__(self, folder: Path, cases: int, keys: dict[str, Any]) -> None:
        self.folder, self.running = folder, dict[str, subprocess.Popen]()
        self.own = folder / "federation"
        self.own.mkdir(parents=True)
        for number, site in enumerate(SITES):
            data = make_site(folder / "data" / site, SCANNERS[site], cases, 100 * number)
            write_json(
                self.own / f"{site}.json",
                {"bundle_root": str(ROOT), "dataset_dir": str(data), **keys},
            )
        words = [f"{key}={json.dumps(value)}" for key, value in keys.items()]
        assert federated(["start", str(self.own), "--set", *words]) == 0
        project = yaml.safe_load((ROOT / "bundle/federated/project.yml").read_text())
        for machine in project["participants"]:
            if machine["name"] in SITES:
                machine["connect_to"] = {"host": "localhost", "port": SITES[machine["name"]]}
        (folder / "project.yml").write_text(yaml.safe_dump(project))
        nvflare = Path(sys.executable).parent / "nvflare"
        words = [nvflare, "provision", "-p", folder / "project.yml", "-w", folder]
        subprocess.run(words, check=True, capture_output=True)
        self.kits = folder / project["name"] / "prod_00"
        for machine in (SERVER, *SITES):
            _allow(self.kits / machine / "local")
        path = self.kits / SERVER / "local" / "resources.json"  # jobs of an earlier rehearsal
        path.write_text(path.read_text().replace("/tmp/nvflare", str(folder / "server")))
        path = self.kits / "site-2" / "local" / "resources.json"
        resources = read_json(path)
        resources["class_allow_list"].append("federated_poison.Poison")
        write_json(path, resources)
        poison = {"name": "own", "task_result_filters": [{"path": "federated_poison.Poison"}]}
        write_json(
            self.kits / "site-2" / "local" / "privacy.json",
            {"scopes": [poison], "default_scope": "own"},
        )
        self.packets: list[tuple[float, str, str, int]] = []
        for site in SITES:
            Proxy(site, self.packets)

    def start(self, machine: str) -> None:
        """Start a machine as its kit does."""
        environment = {
            **os.environ,
            FOLDER: str(self.own),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "scripts"),
        }
        script = self.kits / machine / "startup" / "sub_start.sh"
        with (self.folder / f"{machine}.out").open("a") as out:
            self.running[machine] = subprocess.Popen(
                ["bash", script, "--once"], env=environment, stdout=out, stderr=out
            )

    def kill(self, machine: str) -> None:
        """Kill a machine's processes at once, as a loss of power does."""
        parent = psutil.Process(self.running.pop(machine).pid)
        found = [parent, *parent.children(recursive=True)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, 10)

    def submit(self, rounds: int) -> str:
        """Give the server the job; return the job's id."""
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        path = self.folder / "job"
        if not path.exists():
            words = ["job", str(path), "--rounds", str(rounds), "--wait-seconds", "8"]
            words += ["--own-epochs", "1"]
            assert federated(words) == 0
        for attempt in range(20):
            try:
                session = new_secure_session(ADMIN, str(self.kits / ADMIN), timeout=20)
                try:
                    waited = time.time()
                    while len(session.get_connected_client_list()) < len(SITES):
                        assert time.time() - waited < 120, "not all sites have come"
                        time.sleep(1)
                    return session.submit_job(str(path / "samparser"))
                finally:
                    session.close()
            except Exception as error:
                print(f"attempt {attempt}: {error!r}", flush=True)
                time.sleep(3)
        raise SystemExit("the server does not answer")

    def rows(self) -> list[dict[str, Any]]:
        """Return the rounds so far."""
        path = self.own / "rounds.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, rounds: int, seconds: float) -> float:
        """Wait for the end of so many rounds; return when that was."""
        begun = time.time()
        while len(self.rows()) < rounds:
            if time.time() - begun > seconds:
                raise SystemExit(f"round {rounds - 1} has not ended after {seconds} s")
            time.sleep(0.2)
        return time.time()

    def sizes(self) -> dict[str, list[int]]:
        """Return the bytes of sound messages, as FLARE has logged them on their sites."""
        found: dict[str, list[int]] = {"down": [], "up": []}
        for site in ("site-1", "site-3"):
            for log in (self.kits / site).glob("*/log.txt"):
                task = ""
                for asked, size in SIZE.findall(log.read_text()):
                    task = asked or task
                    if task == "train":
                        found["down" if asked else "up"].append(int(size))
        return found


def rehearse(federation: Federation, rounds: int) -> dict[str, Any]:
    """Do it; return what came of it."""
    ends = {}
    for machine in (SERVER, *SITES):
        federation.start(machine)
        if machine == SERVER:
            time.sleep(8)
    federation.submit(rounds)
    federation.wait(1, 300)
    time.sleep(0.5)
    federation.kill("site-3")  # in the second round
    federation.start("site-3")
    federation.wait(4, 400)
    federation.kill(SERVER)
    (federation.kits / "site-2" / "local" / "privacy.json").unlink()  # it is mended
    federation.start(SERVER)
    time.sleep(10)
    federation.submit(rounds)
    for done in range(5, rounds + 1):
        ends[done] = federation.wait(done, 400)
    rows = federation.rows()
    last = [end for done, end in ends.items()]
    quiet = {
        way: sum(n for at, _, w, n in federation.packets if w == way and last[0] < at <= last[-1])
        / (len(last) - 1)
        / len(SITES)
        for way in ("up", "down")
    }
    parts = [federation.own / f"{site}_own.safetensors" for site in SITES]
    begun = time.time()
    while not all(path.exists() for path in parts) and time.time() - begun < 120:
        time.sleep(0.5)
    return {
        "own_parts": sum(path.exists() for path in parts),
        "rounds": [row["round"] for row in rows],
        "sites": [sorted(row["sites"]) for row in rows],
        "left_out": [row["left_out"] for row in rows],
        "seconds": [max((s["seconds"] for s in row["sites"].values()), default=0) for row in rows],
        "message_bytes": {way: sorted(set(n)) for way, n in federation.sizes().items()},
        "wire_bytes_a_round_and_site": {way: round(n) for way, n in quiet.items()},
        "seconds_of_quiet_rounds": round(last[-1] - last[0], 1),
    }


def main() -> None:
    """Rehearse, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--set", nargs="*", type=key_value, default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    federation = Federation(args.folder.resolve(), args.cases, dict(args.set))
    try:
        found = rehearse(federation, args.rounds)
    finally:
        for machine in [*federation.running]:
            federation.kill(machine)
        with (federation.folder / "packets.csv").open("w") as file:
            file.writelines(
                f"{at:.3f},{site},{way},{n}\n" for at, site, way, n in federation.packets
            )
    print(json.dumps(found, indent=1))
    tensors, about = read_tuned(federation.own / "tuned.safetensors")
    found |= {"backbone": about["backbone"], "numbers": sum(t.numel() for t in tensors.values())}
    cell = f"{found['backbone']}_{found['numbers']}"
    write_run(ROOT / "results" / "federated_rehearsal", cell, found)


if __name__ == "__main__":
    main()
