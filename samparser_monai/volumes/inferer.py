"""MONAI's view of a session: volumes and their prompts in, label volumes out."""

from collections.abc import Sequence
from typing import Any

from monai.data import MetaTensor
from monai.data.utils import collate_meta_tensor_fn
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm

from samparser_monai.sam import Backbone, SamNetwork
from samparser_monai.volumes.organs import Labels, organ_values
from samparser_monai.volumes.segmentation import Segmentation
from samparser_monai.volumes.session import FindByName, Propagate, VolumeSession
from samparser_monai.volumes.targets import Prompt
from samparser_monai.volumes.view import check_plane


class VolumeInferer(Inferer):
    """Open a session on each volume of a batch and ask it for what its prompts ask for.

    Args:
        backbone: of the network.
        labels, plane, kept: see VolumeSession.
        propagate, naming: see VolumeSession.segment.
    """

    def __init__(
        self,
        backbone: Backbone,
        labels: Labels,
        propagate: Propagate | None = None,
        plane: str = "acquisition",
        kept: int = 96,
        naming: FindByName | None = None,
    ) -> None:
        self.backbone, self.labels, self.plane = backbone, organ_values(labels), plane
        self.propagate, self.naming, self.kept = propagate, naming, kept
        check_plane(plane)

    def session(self, volume: MetaTensor, network: SamNetwork) -> VolumeSession:
        """Open a session on a volume, 1xXxYxZ, windowed to 0..255."""
        return VolumeSession(volume, network, self.backbone, self.labels, self.plane, self.kept)

    def ask(self, session: VolumeSession, prompts: Sequence[Prompt]) -> Segmentation:
        """Return what prompts ask for in an open volume, by this inferer's rules."""
        with tqdm(desc="slices", unit="slice", leave=False) as session.bar:
            return session.segment(prompts, self.propagate, self.naming)

    def __call__(
        self,
        inputs: MetaTensor,
        network: SamNetwork,
        prompts: Sequence[Sequence[Prompt]],
        found: list[Segmentation] | None = None,
        **_: Any,
    ) -> Tensor:
        """Return label volumes Bx1xXxYxZ.

        Args:
            inputs: windowed volumes, 0..255.
            network: that finds.
            prompts: of each volume.
            found: a list to which what was found in each volume is added.
        """
        here = []
        for volume, asked in zip(inputs, prompts, strict=True):
            here.append(self.ask(self.session(volume, network), asked))
        if found is not None:
            found += here
        return collate_meta_tensor_fn([one.labels() for one in here])
