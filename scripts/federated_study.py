"""Each site alone, federated, pooled: on sites that nobody trained on.

    python scripts/federated_study.py FOLDER [--decoder frozen] [--hospitals FILE] [--set KEY=VALUE]
    python scripts/federated_study.py FOLDER --epsilons 1000 100 10 --percentiles 50 90
    python scripts/federated_study.py FOLDER --hospitals FILE --rates 0.05 0.02 0.01

Without --hospitals they are synthetic (federated_sites.py). With it, a JSON file to a seed, {seed}
in its name: {"sites": {NAME: [{image, label, case}]}, "unseen": {GROUP: [...]}}.

The rounds are those of a federation, made in one process: a site's round, what is refused and the
average are the same functions that NVIDIA FLARE calls. Alone and pooled are one training of as
many epochs. A way to tune is a line of results/federated/runs.jsonl; what is there is not done
again. With --epsilons and --percentiles what a site sends goes through FLARE's filters for privacy;
half of an epsilon, which is that of a round, is for choosing the numbers and half for their noise.
With --rates the pooled training at each coefficient_rate is judged on the last case of every site,
which is then not trained on; those that nobody trains on have no part in it.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from federated import ROOT, key_value
from federated_sites import SCANNERS, make_site

from samparser_monai.federated.site import Site
from samparser_monai.federated.updates import Update, average, refusal
from samparser_monai.files import read_json
from samparser_monai.harness.runs import read_runs, write_run

MOST_CASES, MOST_STEP = 1000, 0.5
RESULTS = ROOT / "results" / "federated"
RATES = ROOT / "results" / "federated_rates"
SVT = {"fraction": 0.1, "gamma": 0.02}  # of the 512; of a number, per case
Hospitals = dict[str, Any]
Tensors = dict[str, np.ndarray]
Protect = Callable[[Update], Update]


def synthetic(folder: Path, cases: int) -> Hospitals:
    """Make the synthetic hospitals where they are not there; return which volumes are whose."""
    items = {}
    for number, (name, scanner) in enumerate(SCANNERS.items()):
        if not (folder / name).exists():
            make_site(folder / name, scanner, cases, 100 * number)
        items[name] = [
            {"image": str(path), "label": str(path.parent.parent / "labels" / path.name)}
            | {"case": f"{name}_{path.name.split('.')[0]}"}
            for path in sorted((folder / name / "images").iterdir())
        ]
    return {"unseen": {"another scanner": items.pop("unseen")}, "sites": items}


class Study:
    """What one seed's trainings have in common.

    Args:
        folder: for datalists.
        hospitals: see above.
        keys: of the bundle's configuration.
        rounds: of the federation, of one epoch each.
    """

    def __init__(
        self, folder: Path, hospitals: Hospitals, keys: dict[str, Any], rounds: int
    ) -> None:
        self.folder, self.hospitals, self.keys, self.rounds = folder, hospitals, keys, rounds
        self.judge = self.site([*hospitals["sites"]], rounds, 1)
        self.judge.parsed("validate#fill")
        self.start = self.judge.tuned()

    def site(self, names: list[str], rounds: int, local_epochs: int) -> Site:
        """Return a site with the cases of these; the unseen judge."""
        content = {
            "training": [item for name in names for item in self.hospitals["sites"][name]],
            "validation": [item for items in self.hospitals["unseen"].values() for item in items],
        }
        path = self.folder / f"{self.keys['seed']}_{'+'.join(names)}.json"
        path.write_text(json.dumps(content))
        own = {"bundle_root": str(ROOT), "dataset_dir": str(path), "validate#handlers": []}
        return Site("+".join(names), own | self.keys, local_epochs, rounds)

    def judged(self, tensors: Tensors) -> dict[str, Any]:
        """Return DSC (%) on the unseen: of each organ, their mean, and the mean in each group."""
        own = dict(self.judge.network.named_parameters())
        for name, tensor in tensors.items():
            own[name].data.copy_(own[name].new_tensor(tensor))
        evaluator = self.judge.parsed("validate#evaluator")
        evaluator.run()
        slices = self.judge.parsed("metric").slices()
        found = {}
        for group, items in self.hospitals["unseen"].items():
            table = slices[slices["case"].isin([item["case"] for item in items])]
            found[group] = round(float(table.groupby("organ")["dsc"].mean().mean()), 3)
        summary = self.judge.parsed("metric").summary()
        return {**{key: round(value, 3) for key, value in summary.items()}, "groups": found}

    def published(self) -> dict[str, Any]:
        """Return the result of SAM as it was published."""
        return {"unseen": self.judged(self.start)}

    def together(self, names: list[str]) -> dict[str, Any]:
        """Return the result of one training on the cases of these sites."""
        step = self.site(names, 1, self.rounds).train(self.start, 0).steps
        return {"unseen": self.judged({n: self.start[n] + step[n] for n in self.start})}

    def federated(self, protect: Protect | None = None) -> dict[str, Any]:
        """Return the result of the rounds; with a filter too large a step is taken, but counted.

        Args:
            protect: a filter over what a site sends.
        """
        sites = [self.site([name], self.rounds, 1) for name in self.hospitals["sites"]]
        now, seconds, largest, left_out = self.start, [], 0.0, 0
        for number in range(self.rounds):
            sound = []
            for site in sites:
                begun = time.monotonic()
                update = site.train(now, number)
                seconds.append(time.monotonic() - begun)
                update = protect(update) if protect else update
                largest = max([largest, *(float(np.abs(t).max()) for t in update.steps.values())])
                refused = refusal(update, now, site.about, number, MOST_STEP)
                left_out += bool(refused)
                if protect or not refused:
                    sound.append(update)
            mean = average(sound, now, MOST_CASES)
            now = {key: now[key] + mean[key] for key in now}
        return {
            "site_seconds": round(sum(seconds) / len(seconds), 2),
            "largest_step": round(largest, 3),
            "left_out": left_out,
            "unseen": self.judged(now),
        }


def protections(epsilons: list[float], percentiles: list[float]) -> dict[str, Protect]:
    """Return FLARE's filters over an update, by name."""
    if not (epsilons or percentiles):
        return {}
    from nvflare.apis.dxo import DXO, DataKind, MetaKey
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.shareable import Shareable
    from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
    from nvflare.app_common.filters.svt_privacy import SVTPrivacy

    def protect(own: Any, update: Update) -> Update:
        sent = DXO(
            DataKind.WEIGHT_DIFF, update.steps, {MetaKey.NUM_STEPS_CURRENT_ROUND: update.cases}
        )
        return replace(update, steps=own.process_dxo(sent, Shareable(), FLContext()).data)

    found = {
        f"svt epsilon={e:g}": SVTPrivacy(epsilon=e / 2, epsilon_release=e / 2, **SVT)
        for e in epsilons
    }
    found |= {f"percentile={p:g}": PercentilePrivacy(p, MOST_STEP) for p in percentiles}
    return {name: partial(protect, own) for name, own in found.items()}


def without_last(hospitals: Hospitals) -> Hospitals:
    """Return the hospitals with the last case of each in place of those that are unseen."""
    sites = hospitals["sites"]
    return {
        "sites": {name: items[:-1] for name, items in sites.items()},
        "unseen": {"last of each": [items[-1] for items in sites.values()]},
    }


def rates_compared(hospitals: Hospitals, kind: str, seed: int, args: argparse.Namespace) -> None:
    """Judge SAM as published and pooled training at each rate on what the sites leave out."""
    left, names = without_last(hospitals), [*hospitals["sites"]]
    for rate in (0.0, *args.rates):
        cell = f"{kind}_{args.decoder}_seed={seed}_rate={rate:g}"
        if cell in read_runs(RATES):
            continue
        keys = {"decoder": args.decoder, "seed": seed, **dict(args.set)}
        keys |= {"coefficient_rate": rate} if rate else {}
        study = Study(args.folder.resolve() / "rates", left, keys, args.rounds)
        run = study.together(names) if rate else study.published()
        write_run(RATES, cell, {"seed": seed, "rate": rate, "decoder": args.decoder, **run})
        print(cell, run["unseen"], flush=True)


def main() -> None:
    """Run what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hospitals", help="FILE_{seed}.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--cases", type=int, default=3, help="of a synthetic site")
    parser.add_argument("--decoder", default="frozen")
    parser.add_argument("--ways", nargs="+", help="of those that the page names; all")
    parser.add_argument("--epsilons", type=float, nargs="*", default=[])
    parser.add_argument("--percentiles", type=float, nargs="*", default=[])
    parser.add_argument("--rates", type=float, nargs="*", default=[])
    parser.add_argument("--set", nargs="*", type=key_value, default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    (args.folder / "rates").mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        kind = "real" if args.hospitals else "synthetic"
        hospitals = (
            read_json(Path(args.hospitals.format(seed=seed)))
            if args.hospitals
            else synthetic(args.folder.resolve(), args.cases)
        )
        if args.rates:
            rates_compared(hospitals, kind, seed, args)
            continue
        names = [*hospitals["sites"]]
        ways = {"published": Study.published, "federated": Study.federated}
        ways |= {"pooled": lambda study, n=names: study.together(n)}
        for name, protect in protections(args.epsilons, args.percentiles).items():
            ways[name] = partial(Study.federated, protect=protect)
        ways |= {f"{name} alone": lambda study, n=name: study.together([n]) for name in names}
        study = None
        for way, work in ways.items():
            cell = f"{kind}_{args.decoder}_seed={seed}_{way}"
            if cell in read_runs(RESULTS) or (args.ways and way not in args.ways):
                continue
            if study is None:
                keys = {"decoder": args.decoder, "seed": seed, **dict(args.set)}
                study = Study(args.folder.resolve(), hospitals, keys, args.rounds)
            np.random.seed(seed)  # FLARE's filters draw from it
            begun = time.monotonic()
            run = {
                "hospitals": kind,
                "decoder": args.decoder,
                "seed": seed,
                "way": way,
                "rounds": args.rounds,
                "settings": dict(args.set),
                "backbone": study.judge.network.backbone,
                "numbers": sum(tensor.size for tensor in study.start.values()),
                **work(study),
                "seconds": round(time.monotonic() - begun, 1),
            }
            write_run(RESULTS, cell, run)
            print(cell, run["unseen"], f"{run['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
