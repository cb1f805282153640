"""``--tuned``: a configuration that follows a tuned part, and the weights that it asks with."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from samparser_monai.errors import InputError
from samparser_monai.files import read_json
from samparser_monai.sam import SamNetwork
from samparser_monai.sam.named_prompts import organs_in, with_names
from samparser_monai.states import differences
from samparser_monai.tuned.part import apply_method, backbone_of, fitting, read_tuned

log = logging.getLogger(__name__)
PUBLISHED = "published"
OF_DATA = ("labels", "window")
"""Keys that a part may say nothing of: no default is what it was trained with."""


def said(tuned: str | Path | None, needed: Sequence[str] = (), **defaults: Any) -> dict[str, Any]:
    """Return what keys of a configuration are where nobody types them.

    Args:
        tuned: a tuned part, which says most of them; ``published`` for SAM as it came.
        needed: of labels and window, what is None where a part says nothing of it.
        **defaults: what holds where it says nothing: backbone, space, decoder, step, labels, ...

    Returns:
        The defaults; with a part also ``tuned``, ``method``, ``options``, and ``untold``: of labels
        and window, what it says nothing of.

    Raises:
        InputError: the part cannot be read, or names a backbone that is not known here.
    """
    if tuned is None:
        return defaults
    if str(tuned) == PUBLISHED:
        return {**defaults, "tuned": PUBLISHED, "method": "zero_shot", "options": {}}
    about = read_tuned(tuned)[1]
    backbone_of(tuned, about)
    method, options = about.get("method"), about.get("options", {})
    told = {key: value for key, value in {**options, **about}.items() if key in defaults}
    untold = [key for key in OF_DATA if key in defaults and key not in told]
    known = {**defaults, **{key: None for key in needed if key in untold}, **told}
    return {
        **known,
        **{"tuned": str(tuned), "method": method, "options": options, "untold": untold},
    }


def as_said(sam: SamNetwork, defaults: Mapping[str, Any], **options: Any) -> SamNetwork:
    """Give a published network the method of a tuned part; the paper's where there is none.

    Args:
        sam: changed in place, and returned.
        defaults: see said.
        **options: of the method, as they are in force; those that it does not have are left out.

    Raises:
        InputError: the part says otherwise, or its method is not known here.
    """
    check_said(defaults, backbone=sam.backbone, **options)
    own = defaults.get("options", options)
    given = {**own, **{key: value for key, value in options.items() if key in own}}
    return apply_method(
        sam, defaults.get("method", "coefficients"), given, defaults.get("tuned", "")
    )


def check_said(
    defaults: Mapping[str, Any],
    needed: Sequence[str] = (),
    absent: Sequence[str] = (),
    **in_force: Any,
) -> None:
    """Compare the keys that are in force with what a tuned part says.

    Args:
        defaults: see said; without a part, or with SAM as published, nothing is compared.
        needed: keys that a part has to say, or else the user.
        absent: keys that a part must not say.
        **in_force: keys and their values.

    Raises:
        InputError: one that was typed is another; a part says nothing of one that is needed, or
            something of one that is to be absent.
    """
    tuned = defaults.get("tuned", PUBLISHED)
    if tuned == PUBLISHED:
        return
    untold = defaults.get("untold", ())
    for key, value in in_force.items():
        if key not in untold and _plain(value) != _plain(defaults[key]):
            raise InputError(
                f"{key}={value!r} contradicts tuned={tuned!r}, which says {defaults[key]!r}: "
                f"leave --{key} out, or name a part that was made so"
            )
    for key in needed:
        if key in untold:
            if in_force[key] is None:
                raise InputError(
                    f"tuned={tuned!r} says nothing of {key}: give --{key} as it was trained with"
                )
        elif defaults[key] is None:
            raise InputError(
                f"tuned={tuned!r} was made without {key}, on other data than these: is it of "
                "pictures, for inference_pictures?"
            )
    about = read_tuned(tuned)[1] if absent else {}  # they are no keys here, so no defaults
    for key in absent:
        if about.get(key) is not None:
            raise InputError(
                f"tuned={tuned!r} was made with {key}={about[key]!r}, on other data than these: "
                "is it of volumes, for inference?"
            )


def check_as_trained(model_file: str | Path, **in_force: Any) -> None:
    """Warn where the tuned part beside a model was trained with other options than are in force.

    Args:
        model_file: of the training; without a tuned.safetensors beside it nothing is compared.
        **in_force: labels, window, as :func:`save_tuned` records them.
    """
    path = Path(model_file).with_name("tuned.safetensors")
    trained = read_tuned(path)[1] if path.is_file() else {}
    for key, value in in_force.items():
        if key in trained and trained[key] != _plain(value):
            log.warning(
                "%s was trained with %s=%s, and %s is in force: is this the same kind of data?",
                *(model_file, key, trained[key], value),
            )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _check_method(model_file: Path, network: SamNetwork) -> None:
    """Raise an InputError where the run.json beside a model says another method of its training.

    Options of a method need not show in the shapes: a step, a scale.
    """
    if not isinstance(network, SamNetwork):  # a configuration may name another
        return
    path = model_file.with_name("run.json")
    content = read_json(path) if path.is_file() else {}
    before = content.get("method", {}) if content.get("run") == "training" else {}
    now = _plain({"name": network.method, **network.options})
    both = before.keys() & now.keys()
    if told := differences({k: before[k] for k in both}, {k: now[k] for k in both}):
        raise InputError(
            f"{model_file} is of a training with another method, as {path} says: {told}; give the "
            "same, or --tuned with the tuned part beside it, which says it all"
        )


class ModelLoader:
    """Load a trained network before an evaluation; whether it fits is told when this is built.

    The network learns at once by which names it can be asked.

    Args:
        load_path: of the whole network.
        network: that gets its weights.
        tuned: takes the place of that file: a tuned part, or ``published`` for nothing.
        usual: where that file lies unless the user says otherwise.

    Raises:
        InputError: the file is missing or damaged, or is of another network; the user gave two.
    """

    def __init__(
        self,
        load_path: str | Path,
        network: SamNetwork,
        tuned: str | Path | None = None,
        usual: str | Path | None = None,
    ) -> None:
        self.network, self.strict = network, tuned is None
        if tuned is not None:
            if usual is not None and Path(load_path) != Path(usual):
                raise InputError(
                    f"model_file={str(load_path)!r} and tuned={str(tuned)!r} are two models: give "
                    "one of them"
                )
            self.weights = {} if str(tuned) == PUBLISHED else fitting(tuned, network)[0]
            return
        if not Path(load_path).is_file():
            raise InputError(
                f"{load_path} does not exist: train first, or name "
                "the model's file by --model_file, a tuned part by --tuned, or SAM as it came by "
                "--tuned published"
            )
        try:
            weights = torch.load(load_path, map_location="cpu", weights_only=True, mmap=True)
            weights = weights.get("model", weights)
            found = {name: tensor.shape for name, tensor in weights.items()}
        except Exception as error:
            raise InputError(
                f"{load_path} cannot be read ({type(error).__name__}): it is damaged, or no model "
                "that a training saved; train again, or name the model's file"
            ) from error
        with_names(network, *organs_in(weights))
        wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
        wrong = [n for n in {**wanted, **found} if wanted.get(n) != found.get(n)]
        if wrong:
            raise InputError(
                f"{load_path} does not fit this network: {len(wrong)} of its tensors are missing, "
                f"too many or of another shape, the first is {wrong[0]!r}; give the backbone, "
                "method and decoder with which it was trained"
            )
        _check_method(Path(load_path), network)
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise InputError(
                    f"{load_path} holds numbers that are not finite, in {name!r}: train again, at "
                    "a lower rate"
                )
        self.weights = weights

    @property
    def names(self) -> list[str]:
        """The organs that the weights find by name."""
        prompts = getattr(self.network, "named_prompts", None)
        tokens = self.weights.get("named_prompts.tokens")
        return [] if prompts is None or tokens is None else prompts.taught_by(tokens)

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights when an evaluation begins."""
        self.load()

    def load(self) -> None:
        """Load the weights."""
        self.network.load_state_dict(self.weights, strict=self.strict)
