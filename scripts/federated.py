"""Federated tuning with NVIDIA FLARE: the start that all sites agree on, the job, a rehearsal.

docs/how_to/federated.md tells what each machine needs and what travels.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from samparser_monai.errors import InputError, root_cause, unknown, writable
from samparser_monai.federated.folder import FOLDER
from samparser_monai.files import read_json

ROOT = Path(__file__).parent.parent
BROADCAST = "nvflare.app_common.workflows.broadcast_and_process.BroadcastAndProcess"
"""FLARE's own, which its list of what may be built leaves out."""


def start(args: argparse.Namespace) -> None:
    """Write start.safetensors, SAM as published: what every site must agree to, and round 0."""
    from monai.bundle import ConfigParser

    from samparser_monai.federated.site import CONFIG_FILES
    from samparser_monai.tuned.part import save_tuned

    parser = ConfigParser()
    parser.read_config([str(ROOT / file) for file in CONFIG_FILES])
    for key in args.set:
        if key not in parser.config:
            raise unknown("config key", key, parser.config)
    parser.update(args.set)
    path = writable("FOLDER", args.folder) / "start.safetensors"
    if path.exists():
        raise InputError(f"{path} exists: a federation has begun from it; name another folder")
    about = {key: parser.get_parsed_content(key) for key in ("scenario", "labels", "window")}
    network = parser.get_parsed_content("named_def")
    save_tuned(path, network, about, network.state_dict())


def job(args: argparse.Namespace) -> None:
    """Write the job's folder, for `nvflare job submit -j`."""
    _job(args).export_job(str(writable("FOLDER", args.folder)))


def allow(args: argparse.Namespace) -> None:
    """Let a provisioned machine build our classes, and keep its log: FOLDER is its startup kit."""
    _allow(Path(args.folder) / "local")


def _allow(local: Path) -> None:
    from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST

    default = local / "resources.json.default"
    resources = read_json(default) if default.exists() else {"format_version": 2}
    allowed = resources.setdefault("class_allow_list", list(DEFAULT_CLASS_ALLOW_LIST))
    allowed += ["samparser_monai.federated", BROADCAST]
    resources["allow_log_streaming"] = False  # a site's errors name its files
    writable("FOLDER", local)
    (local / "resources.json").write_text(json.dumps(resources, indent=4))


def simulate(args: argparse.Namespace) -> None:
    """Rehearse the whole federation on this machine: the sites are FOLDER/*.json."""
    from nvflare.recipe.sim_env import SimEnv

    folder = Path(args.folder).resolve()
    sites = sorted(path.stem for path in folder.glob("*.json"))
    if not sites or not (folder / "start.safetensors").exists():
        raise InputError(
            f"{folder} has no start.safetensors or no SITE.json: see docs/how_to/federated.md"
        )
    os.environ[FOLDER] = str(folder)
    _allow(folder / "flare" / "samparser" / "local")
    SimEnv(clients=sites, num_threads=args.threads, workspace_root=str(folder / "flare")).deploy(
        _job(args)
    )
    print((folder / "rounds.jsonl").read_text(), end="")


def demo(args: argparse.Namespace) -> None:
    """Make three synthetic hospitals in FOLDER and rehearse their federation."""
    from federated_sites import SCANNERS, make_site

    folder = writable("FOLDER", args.folder).resolve()
    for number, (name, scanner) in enumerate(SCANNERS.items()):
        data = make_site(folder / "data" / name, scanner, args.cases, 100 * number)
        if name.startswith("site"):
            settings = {"bundle_root": str(ROOT), "dataset_dir": str(data), **args.set}
            (folder / f"{name}.json").write_text(json.dumps(settings, indent=4))
    if not (folder / "start.safetensors").exists():
        start(args)
    simulate(args)


def _job(args: argparse.Namespace) -> "FedJob":  # noqa: F821
    from samparser_monai.federated.job import federated_job

    names = ("rounds", "local_epochs", "min_sites", "round_seconds", "wait_seconds", "most_step")
    names += ("most_cases", "fedprox_mu", "own_epochs", "privacy", "privacy_options")
    return federated_job(**{name: getattr(args, name) for name in names})


def key_value(text: str) -> tuple[str, object]:
    """Return a KEY=VALUE of a configuration; the value is JSON, or a string."""
    key, mark, value = text.partition("=")
    if not mark:
        raise argparse.ArgumentTypeError(f"{text!r}: write KEY=VALUE")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


COMMANDS: dict[str, Callable] = {
    "start": start,
    "job": job,
    "allow": allow,
    "simulate": simulate,
    "demo": demo,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, work in COMMANDS.items():
        command = commands.add_parser(name, help=work.__doc__, description=work.__doc__)
        command.add_argument("folder", metavar="FOLDER")
        if name in ("start", "demo"):
            command.add_argument(
                "--set", nargs="*", type=key_value, default=[], metavar="KEY=VALUE"
            )
        if name == "demo":
            command.add_argument("--cases", type=int, default=4)
        if name in ("job", "simulate", "demo"):
            command.add_argument("--rounds", type=int, default=10)
            command.add_argument("--local-epochs", type=int, default=1)
            command.add_argument("--min-sites", type=int, default=2)
            command.add_argument("--round-seconds", type=int, default=3600)
            command.add_argument("--wait-seconds", type=int, default=300)
            command.add_argument("--most-step", type=float, default=0.5)
            command.add_argument("--most-cases", type=int, default=1000)
            command.add_argument("--fedprox-mu", type=float, default=0.0)
            command.add_argument("--own-epochs", type=int, default=0)
            command.add_argument("--privacy", choices=("percentile", "svt"))
            command.add_argument(
                "--privacy-options", nargs="*", type=key_value, default=[], metavar="KEY=VALUE"
            )
        if name in ("simulate", "demo"):
            command.add_argument("--threads", type=int, help="sites at a time (all)")
    args = parser.parse_args(arguments)
    for pairs in ("set", "privacy_options"):
        if hasattr(args, pairs):
            setattr(args, pairs, dict(getattr(args, pairs)))
    try:
        COMMANDS[args.command](args)
    except Exception as error:
        if (cause := root_cause(error)) is None:
            raise
        print(f"error: {cause}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
