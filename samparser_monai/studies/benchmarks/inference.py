"""A CT volume through ours, through the bare encoder, and through stock SamPredictor."""

import statistics
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from samparser_monai import methods
from samparser_monai.sam import architecture, backbone_named
from samparser_monai.studies.benchmarks.timing import DEVICE, once
from samparser_monai.training.transforms import IntoFramed
from samparser_monai.volumes.inferer import VolumeInferer


def inference(name: str) -> dict[str, Any]:
    """Time slices of a CT volume with 4 organs: the bare encoder, stock SamPredictor, and ours.

    The predictor is used as MedSAM's users do: an organ at a time, slice by slice.
    """
    backbone, slices = backbone_named(name), 2
    network = architecture(name).to(DEVICE)
    methods.coefficients(network)
    organs = {"liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
    volume = MetaTensor(torch.rand(1, 1, 512, 512, slices) * 255, affine=torch.eye(4))
    volume.meta["filename_or_obj"] = "synthetic"
    prompts = [{"label": organ, "box": [60, 60, 0, 200, 200, slices - 1]} for organ in organs]
    inferer = VolumeInferer(backbone, organs, plane="axial")
    frame = IntoFramed(backbone.image_size, backbone.mask_size, backbone.mean, backbone.std)
    pictures = [frame({"image": volume[0, :, :, :, k].expand(3, -1, -1)}) for k in range(slices)]
    network.image_encoder.img_size = backbone.image_size  # what the predictor asks for
    stock = Sam(network.image_encoder, network.prompt_encoder, network.mask_decoder)
    predictor = SamPredictor(stock.to(DEVICE))
    rgb = volume[0, 0].numpy().astype(np.uint8)[..., None].repeat(3, axis=-1)

    def by_predictor() -> None:
        for _ in organs:
            for k in range(slices):
                predictor.set_image(rgb[:, :, k])
                predictor.predict(box=np.array([60, 60, 200, 200]), multimask_output=False)

    works = {
        "bare_encoder": lambda: [
            network.image_encoder(p["image"][None].to(DEVICE)) for p in pictures
        ],
        "predictor": by_predictor,
        "ours": lambda: inferer(volume, network, [prompts]),
    }
    with torch.no_grad():
        # in turn, so that what else the machine does falls on all of them
        rounds = [{what: once(work) for what, work in works.items()} for _ in range(4)][1:]
    took = {what: statistics.median(r[what] for r in rounds) for what in works}
    return {
        "images_a_second": {what: slices / time_ for what, time_ in took.items()},
        "ratios": {
            "predictor_over_ours": took["predictor"] / took["ours"],
            "overhead": took["ours"] / took["bare_encoder"] - 1,
            "predictor_over_ours_in_each_round": [r["predictor"] / r["ours"] for r in rounds],
        },
    }
