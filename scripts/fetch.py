"""Fetch published weights and the demonstration CT into the cache folder: once, verified.

    python scripts/fetch.py NAME...

NAME is a backbone (mobile_sam, lite_medsam, vit_b, vit_l, vit_h) or demonstration_ct.
"""

import sys

from samparser_monai.errors import InputError, unknown
from samparser_monai.fetch import fetch
from samparser_monai.sam.checkpoints import WEIGHTS
from samparser_monai.volumes.demonstration import fetch_demonstration


def main(names: list[str]) -> int:
    """Fetch everything named; return the exit code."""
    known = {name: lambda source=source: fetch(source) for name, source in WEIGHTS.items()}
    known["demonstration_ct"] = fetch_demonstration
    try:
        if not names:
            raise InputError(f"name what to fetch: {', '.join(known)}")
        for name in names:
            if name not in known:
                raise unknown("name", name, known)
        for name in names:
            print(f"{name}: {known[name]()}", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
