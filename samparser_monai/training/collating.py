"""Items of pictures with different numbers of instances as one batch."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor_fn

Item = dict[Hashable, Any]


def collate(items: Sequence[Item]) -> Item:
    """Stack images and features (float32), join the instances' masks, and list everything else.

    ``label`` is Tx1xhxw over all T instances of the batch; ``boxes`` stays a list of Nx4.
    """
    batch: Item = {key: [item[key] for item in items] for key in items[0]}
    for key in ("image", "features"):
        if key in batch:
            kept = all(isinstance(tensor, MetaTensor) for tensor in batch[key])
            batch[key] = (collate_meta_tensor_fn if kept else torch.stack)(batch[key])
    if "features" in batch:
        batch["features"] = batch["features"].float()
    if "boxes" in batch:
        batch.setdefault("features", None)  # the network computes them
    if "label" in batch:
        batch["label"] = torch.cat(batch["label"])
    return batch
