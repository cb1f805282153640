"""In which numbers a training computes."""

import torch

from samparser_monai.errors import InputError


def mixed(amp: bool, device: torch.device) -> bool:
    """Return whether a training multiplies in bfloat16, its weights and losses in float32.

    Raises:
        InputError: it would, but not on a GPU.
    """
    if amp and device.type != "cuda":
        raise InputError(f"amp=True is for a GPU, and this training runs on {device}: leave it out")
    return amp
