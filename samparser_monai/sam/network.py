"""Segment Anything as one trainable network from images and prompts to low-resolution logits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self

import torch
from torch import Tensor, nn

from samparser_monai.errors import InputError, one_line
from samparser_monai.sam.decoding import dense_of, masks_of
from samparser_monai.sam.named_prompts import NamedPrompts, organs_in, with_names

Boxes = Tensor | Sequence[Tensor]


class Split(Protocol):
    """Where a method cuts the image encoder: what lies before the cut stays as published.

    Attributes:
        name: of the tensor at the cut.
        prefix: (encoder, image) -> features; never needs a gradient.
        suffix: (encoder, features) -> embedding.
        reads: how the names of the encoder's tensors begin that the prefix depends on.
    """

    name: str
    prefix: Callable[[nn.Module, Tensor], Tensor]
    suffix: Callable[[nn.Module, Tensor], Tensor]
    reads: tuple[str, ...]


class SamNetwork(nn.Module):
    """The three parts of SAM, under the names of its published files.

    SAM's own forward runs without gradients and takes a list of dictionaries; this one trains.
    Instances come first: T boxes over all the images of a batch give T masks.
    """

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: nn.Module, mask_decoder: nn.Module
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.method = ""  # the name of the one that was applied
        self.options: dict[str, Any] = {}  # of that method
        self.split: Split | None = None
        self.backbone = ""
        self.base_sha256 = ""
        self.named_prompts: NamedPrompts | None = None  # see with_names
        self.register_load_state_dict_pre_hook(_learn_names)
        self._placed = torch.empty(0), -1, torch.empty(0)  # see _position
        self.engine: Callable[[SamNetwork, Tensor], Tensor] | None = None  # see with_engine

    def train(self, mode: bool = True) -> Self:
        """Switch the mode, but for the encoder: its batch statistics are part of SAM's weights."""
        super().train(mode)
        self.image_encoder.eval()
        return self

    def __prepare_scriptable__(self) -> NoReturn:
        """Tell `monai.bundle ckpt_export`, and who else asks torch for it, what to use instead."""
        one_line()
        raise InputError(
            "this network has no TorchScript: its boxes are lists and its weights are "
            "parametrized; use `samparser tuned onnx models/tuned.safetensors FOLDER` or "
            "`samparser tuned merge`, which every tool for SAM loads"
        )

    def forward(
        self,
        image: Tensor,
        boxes: Boxes | None = None,
        features: Tensor | None = None,
        names: Sequence[Tensor] | None = None,
        clicks: Sequence[Tensor] | None = None,
        with_iou: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits of one mask to a prompt, Tx1xhxw (256x256 for SAM's own sizes).

        Args:
            image: Bx3xHxW, normalized and padded to the model's square input.
            boxes: for each image Nx4, XYXY in pixels of that input; without any, each image is
                prompted by its whole frame.
            features: what the frozen prefix gives for the image, where that is known already.
            names, clicks: see decode.
            with_iou: return the predicted IoU, Tx1, beside the logits.
        """
        if features is None:
            features = self.features(image)
        found = self.decode(self.embed(features), boxes, names=names, clicks=clicks)
        return found if with_iou else found[0]

    def features(self, image: Tensor) -> Tensor:
        """Return the output of the frozen prefix; the image itself where a method leaves none."""
        if self.split is None:
            return image
        with torch.no_grad():
            if self.engine is not None and image.device.type == "cpu":
                return self.engine(self, image)
            return self.split.prefix(self.image_encoder, image)

    def embed(self, features: Tensor) -> Tensor:
        """Return the image embedding BxCxhxw for the output of the frozen prefix."""
        if self.split is None:
            return self.image_encoder(features)
        return self.split.suffix(self.image_encoder, features)

    def decode(
        self,
        embedding: Tensor,
        boxes: Boxes | None = None,
        points: Sequence[Tensor] | None = None,
        masks: Sequence[Tensor | Sequence[Tensor | None]] | None = None,
        names: Sequence[Tensor] | None = None,
        clicks: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the logits Tx1xhxw and the predicted IoU Tx1 of all prompts of all images.

        The n-th box, points, mask and name of an image are one prompt. Without any prompt each
        image is prompted by its whole frame.

        Args:
            embedding: BxCxhxw.
            boxes: for each image Nx4, XYXY in pixels of the model's input.
            points: for each image NxPx3: x and y in those pixels, and 1 for the foreground, 0 for
                the background, -1 for no point.
            masks: for each image N low-resolution logits, 1xhxw; None for a prompt without any.
            names: for each image N whole numbers, places in ``named_prompts.organs``: the organ is
                asked for, and the prompt's box is the body's; -1 where it is the object's.
            clicks: for each image Nx3, as one of ``points``: a click that asks in the place of the
                prompt's box; that box asks where the third is -1.
        """
        given = [p for p in (boxes, points, masks, names) if p is not None]
        if not given:
            side = self.prompt_encoder.input_image_size[0]
            given = [boxes := [torch.tensor([[0.0, 0.0, side, side]])] * len(embedding)]
        which = [n for n, of_image in enumerate(given[0]) for _ in of_image]
        pointed, boxed = _joined(points, embedding), _joined(boxes, embedding)
        if names is not None:
            assert self.named_prompts is not None, "names are asked of a network without them"
            assert boxed is not None, "names need the body's box"
            named = torch.cat([*names]).to(boxed.device)
            boxed = self.named_prompts.boxes(named, boxed)
        sparse, dense = self.prompt_encoder(
            points=None if pointed is None else (pointed[..., :2], pointed[..., 2]),
            boxes=boxed,
            masks=None,
        )
        if names is not None and self.named_prompts is not None:
            sparse = self.named_prompts(named, sparse)
        if (instead := _joined(clicks, embedding)) is not None:
            # SAM adds no point to one that has no box beside it: two tokens, as a box has
            place, kind = instead[:, None, :2], instead[:, None, 2]
            alone, _ = self.prompt_encoder(points=(place, kind), boxes=None, masks=None)
            sparse = torch.where(kind[..., None] < 0, sparse, alone)
        flat = [mask for of_image in masks or () for mask in of_image]
        own: dict[int | None, Tensor] = {}  # the dense prompts of those that have a mask
        if asked := {n: mask for n, mask in enumerate(flat) if mask is not None}:
            found = dense_of(self.prompt_encoder, torch.stack([*asked.values()]).to(embedding))
            own |= zip(asked, found.split(1), strict=True)
        keys = [(image, n if n in own else None) for n, image in enumerate(which)]
        # in the order of the prompts: where each has a picture of its own, none is copied again
        pictures = {
            (image, n): embedding[image : image + 1] + own.get(n, dense[:1])
            for image, n in dict.fromkeys(keys)
        }
        places = {key: place for place, key in enumerate(pictures)}
        rows = torch.cat([*pictures.values()]) if pictures else embedding[:1]
        which = [places[key] for key in keys]
        sparse = sparse.expand(len(which), -1, -1)
        own_decoder = None if self.named_prompts is None else self.named_prompts.decoder
        if names is None or own_decoder is None:
            return masks_of(self.mask_decoder, rows, which, self._position(), sparse)
        # names learn from the embedding as boxes make it: what boxes use is trained by boxes alone
        asked_by = [(self.mask_decoder, rows, named < 0), (own_decoder, rows.detach(), named >= 0)]
        return self._by_several(asked_by, which, sparse)

    def _by_several(
        self,
        asked_by: Sequence[tuple[nn.Module, Tensor, Tensor]],
        which: Sequence[int],
        sparse: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return masks_of where each decoder has pictures, and prompts of its own, T flags."""
        parts, order = [], []
        for decoder, pictures, own in asked_by:
            chosen = own.nonzero()[:, 0]
            if len(chosen) or not len(which):
                order.append(chosen)
                here = [which[n] for n in chosen.tolist()]
                parts.append(masks_of(decoder, pictures, here, self._position(), sparse[chosen]))
        logits, iou = map(torch.cat, zip(*parts, strict=True))
        back = torch.cat(order).argsort()
        return logits[back], iou[back]

    def _position(self) -> Tensor:
        """Return the positional encoding of an embedding's places, 1xNxC, made once."""
        drawn = self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        known, version, places = self._placed
        if known is not drawn or version != drawn._version:  # moved, or loaded
            with torch.inference_mode(False):
                places = self.prompt_encoder.get_dense_pe().flatten(2).mT.contiguous()
            self._placed = drawn, drawn._version, places
        return places


def _learn_names(network: SamNetwork, weights: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Let a network know the organs that weights have names for, whoever loads them."""
    own = {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
    with_names(network, *organs_in(own))


def _joined(prompts: Boxes | None, like: Tensor) -> Tensor | None:
    """Return the prompts of all images as one tensor of the embedding's kind."""
    return None if prompts is None else torch.cat([torch.as_tensor(p) for p in prompts]).to(like)
