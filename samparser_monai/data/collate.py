"""Items of pictures with different numbers of instances as one batch."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

Item = dict[Hashable, Any]


def collate(items: Sequence[Item]) -> Item:
    """Stack images and features, join the instances' masks, and list everything else.

    ``label`` is Tx1xhxw over all T instances of the batch; ``boxes`` stays a list of Nx4.
    """
    batch: Item = {key: [item[key] for item in items] for key in items[0]}
    for key in ("image", "features"):
        if key in batch:
            batch[key] = torch.stack(batch[key])
    if "label" in batch:
        batch["label"] = torch.cat(batch["label"])
    return batch
