"""Print how many numbers each method tunes on a backbone, in K = 1024 as the paper counts."""

import argparse
import json
from functools import partial
from pathlib import Path

from samparser_monai.methods import count_variants
from samparser_monai.sam import BACKBONES, architecture

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backbone", choices=BACKBONES, default="vit_b")
parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there too")
arguments = parser.parse_args()

counts = count_variants(partial(architecture, arguments.backbone))
print(f"{'K on ' + arguments.backbone:36}{'encoder':>12}{'decoder':>12}{'total':>12}")
for name, count in counts.items():
    row = (count["encoder"], count["decoder"], sum(count.values()))
    print(f"{name:36}" + "".join(f"{number / 1024:12.2f}" for number in row))
if arguments.json:
    arguments.json.write_text(json.dumps(counts, indent=4) + "\n")
