"""A model that is asked from Python, by the shipped configuration of inference."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from samparser_monai.errors import InputError, root_cause
from samparser_monai.files import ends_with
from samparser_monai.pictures.boxes import checked_box
from samparser_monai.pictures.finding import ENDINGS
from samparser_monai.pictures.reading import read_picture
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.named_prompts import check_organs
from samparser_monai.segmenter.picture import SegmentedPicture
from samparser_monai.segmenter.volume import SegmentedVolume
from samparser_monai.shipped import shipped
from samparser_monai.tuned.finding import NAME, part_in
from samparser_monai.volumes.cases import asked_too
from samparser_monai.volumes.organs import organ_values
from samparser_monai.volumes.prompts import check_prompts
from samparser_monai.volumes.reading import volume_of
from samparser_monai.volumes.session import VolumeSession


class Segmenter:
    """A model in memory: ask it for organs of volumes, and for objects in pictures.

    Make one by ``from_tuned`` or ``from_published``. Asked again about the same file it computes no
    features anew: a further prompt costs a pass of the decoder.

        segmenter = Segmenter.from_tuned("ct.safetensors")
        liver = {"label": "liver", "box": [i0, j0, k0, i1, j1, k1]}
        found = segmenter.segment("ct.nii.gz", [liver])
        found.labels, found.affine
        found.save("liver.nii.gz")
        found.show()
    """

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self._keys = {key: value for key, value in keys.items() if value is not None}
        self._parser = self._configuration("inference")
        model = self._parser.get_parsed_content("model")
        model.load()
        self._network: SamNetwork = model.network.eval()
        self._names: list[str] = model.names
        self._open: tuple[Any, VolumeSession] | None = None

    @classmethod
    def from_tuned(
        cls,
        path: str | Path,
        *,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        labels: Mapping[str, Any] | None = None,
        window: Sequence[float] | None = None,
        plane: str | None = None,
    ) -> Self:
        """Return the model of a training.

        Args:
            path: a tuned part, a run's folder, or a ``model.pt`` with its tuned part beside it.
            checkpoint: its base, where that is not the backbone's published weights.
            device: ``cuda:1``, say; a GPU where there is one.
            labels: organ -> its value, where the part says none; window: lowest and highest
                intensity, likewise.
            plane: of the pictures of volumes: axial, coronal, sagittal; that of acquisition.

        Raises:
            InputError: it is not there, is damaged, or is of another base.
        """
        path = Path(path)
        given: dict[str, Any] = {"tuned": str(part_in(path) if path.is_dir() else path)}
        if path.suffix == ".pt":
            if not (part := path.with_name(NAME)).is_file():
                raise InputError(
                    f"{path} has no {NAME} beside it, which says its method: name its tuned part"
                )
            given = {"tuned": str(part), "model#load_path": str(path), "model#tuned": "$None"}
        return cls(given | _common(checkpoint, device, labels, window, plane))

    @classmethod
    def from_published(
        cls,
        backbone: str = "mobile_sam",
        *,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        labels: Mapping[str, Any] | None = None,
        window: Sequence[float] | None = None,
        plane: str | None = None,
    ) -> Self:
        """Return SAM as it came; for the arguments see from_tuned.

        Raises:
            InputError: its weights are not there; ``samparser fetch`` brings them.
        """
        given = {"tuned": "published", "backbone": backbone}
        return cls(given | _common(checkpoint, device, labels, window, plane))

    @property
    def labels(self) -> dict[str, int]:
        """The organs that prompts of volumes may name, and their values."""
        known = self._parser.get_parsed_content("labels")
        return {organ: values[0] for organ, values in organ_values(known).items()}

    @property
    def names(self) -> list[str]:
        """The organs that the model finds by their names, without prompts."""
        return [name for name in self._names if name in self.labels]

    def segment(
        self,
        volume: str | Path | np.ndarray | MetaTensor | Any,
        prompts: Sequence[Mapping[str, Any]] = (),
        *,
        organs: Sequence[str] = (),
        affine: np.ndarray | None = None,
    ) -> SegmentedVolume:
        """Return what prompts ask for in a volume, on its own grid.

        Args:
            volume: a file or a folder with a DICOM series; a nibabel image; a MetaTensor; or an
                array XxYxZ with its ``affine``.
            prompts: {label, box | points | mask, ...}, as in docs/prompts.md: in voxels, or in
                millimetres with their ``frame``.
            organs: those to find by name beside; without prompts all of ``names``.
            affine: 4x4, from voxels to RAS in millimetres.

        Raises:
            InputError: a volume or prompts that cannot be used.
        """
        asked = asked_too(list(prompts), check_organs(list(organs), self.names))
        asked = asked or [{"label": organ} for organ in self.names]
        check_prompts(asked, "prompts", self.labels, self.names)
        session = self._session(volume, affine)
        return SegmentedVolume(self._inferer.ask(session, asked))

    def segment_picture(
        self,
        picture: str | Path | np.ndarray | Any,
        boxes: Sequence[Sequence[float]] = (),
        *,
        organs: Sequence[str] = (),
    ) -> SegmentedPicture:
        """Return the object of each box of a picture, and what it shows of some categories.

        Args:
            picture: a file; or pixels HxW or HxWx3 from 0 to 255, an array or a PIL picture.
            boxes: Nx4, XYXY in pixels, corners included.
            organs: categories to find by name beside; without boxes all that the model knows.

        Raises:
            InputError: a picture or boxes that cannot be used.
        """
        pixels = read_picture(picture) if isinstance(picture, str | Path) else _pixels(picture)
        size = (pixels.shape[0], pixels.shape[1])
        by_name = check_organs(list(organs), self._names)
        if not len(boxes) and not self._names:
            raise InputError("boxes is empty: give at least one, [x0, y0, x1, y1] in pixels")
        by_name = by_name or ([] if len(boxes) else self._names)
        prompts = [
            checked_box({"box": [float(side) for side in box]}, f"box {n}", size)
            for n, box in enumerate(boxes)
        ]
        corners = np.array([prompt["box"] for prompt in prompts], np.float32).reshape(-1, 4)
        image = torch.from_numpy(np.moveaxis(pixels.astype(np.float32), -1, 0).copy())
        (found,) = self._picture_inferer(image[None], self._network, [corners], [by_name])
        prompts += [one["prompt"] for one in found[len(prompts) :]]
        return SegmentedPicture(pixels.astype(np.uint8), prompts, found)

    def _session(self, source: Any, affine: np.ndarray | None) -> VolumeSession:
        if not isinstance(source, str | Path):
            return self._inferer.session(self._prepared(_volume(source, affine)), self._network)
        path = Path(source)
        if ends_with(path, ENDINGS):
            raise InputError(f"{path} is a picture: ask by segment_picture")
        state = path.stat() if path.is_file() else None
        key = (path.absolute(), state and (state.st_mtime_ns, state.st_size))
        if state is None or self._open is None or self._open[0] != key:
            self._open = None  # one volume at a time in memory
            session = self._inferer.session(self._prepared(str(path)), self._network)
            self._open = key, session
        return self._open[1]

    def _prepared(self, volume: str | MetaTensor) -> MetaTensor:
        try:
            found: MetaTensor = self._preprocessing({"image": volume})["image"]
        except Exception as error:  # MONAI wraps what a transform raises
            raise root_cause(error) or error from None
        return found

    @cached_property
    def _preprocessing(self) -> Any:
        self._parser.get_parsed_content("as_said")  # a part of pictures knows no window
        return self._parser.get_parsed_content("preprocessing")

    @cached_property
    def _inferer(self) -> Any:
        return self._parser.get_parsed_content("inferer")

    @cached_property
    def _picture_inferer(self) -> Any:
        return self._configuration("inference_pictures").get_parsed_content("inferer")

    def _configuration(self, name: str) -> ConfigParser:
        parser = ConfigParser()
        parser.read_config(shipped("configs") / f"{name}.json")
        parser.update({k: v for k, v in self._keys.items() if k.partition("#")[0] in parser.config})
        return parser


def _common(
    checkpoint: str | Path | None,
    device: str | None,
    labels: Mapping[str, Any] | None,
    window: Sequence[float] | None,
    plane: str | None,
) -> dict[str, Any]:
    return {
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "device": None if device is None else f"$torch.device({device!r})",
        "labels": None if labels is None else dict(labels),
        "window": None if window is None else [float(value) for value in window],
        "plane": plane,
    }


def _volume(source: Any, affine: np.ndarray | None) -> MetaTensor:
    """Return what people have in memory as a checked volume, 1xXxYxZ."""
    if isinstance(source, MetaTensor):
        affine = source.affine.numpy() if affine is None else affine
        values = source.cpu().numpy()
        values = values[0] if values.ndim == 4 and len(values) == 1 else values
    elif hasattr(source, "get_fdata"):  # of nibabel
        affine = source.affine if affine is None else affine
        values = source.get_fdata(dtype=np.float32)
    else:
        values = np.asarray(source)
    if affine is None:
        raise InputError(
            "volume is an array without an affine: give affine=, 4x4, from voxels to RAS in mm"
        )
    return volume_of(values.astype(np.float32), np.asarray(affine, dtype=float))


def _pixels(picture: Any) -> np.ndarray:
    """Return what people have in memory as HxWx3 from 0 to 255."""
    pixels = np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else picture)
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype.kind not in "uif":
        raise InputError(f"picture must be HxW or HxWx3, not {pixels.dtype} {pixels.shape}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 255) or (pixels.dtype.kind == "f" and high <= 1):
        raise InputError(f"picture goes from {low:g} to {high:g}: scale it to 0 to 255")
    return pixels
