"""The bundle as an application of MONAI Deploy, without a container.

    python app.py --input DIR --output OUT

``DIR`` holds the volume of each case, NIfTI or a folder with a DICOM series, and beside them
``prompts.json``, as for the bundle's inference; without it a model that knows organs by name finds
them all. ``OUT`` gets a label volume to each.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.deploy.conditions import CountCondition
from monai.deploy.core import (
    Application,
    Image,
    IOType,
    Operator,
    OperatorSpec,
    init_app_context,
)
from monai.deploy.operators.monai_bundle_inference_operator import (
    IOMapping,
    MonaiBundleInferenceOperator,
)

BUNDLE = next(
    p for p in Path(__file__).resolve().parents if (p / "configs/inference.json").exists()
)
sys.path.insert(0, str(BUNDLE))  # the bundle carries its own code

from samparser_monai.errors import InputError  # noqa: E402
from samparser_monai.volumes import inference_items  # noqa: E402
from samparser_monai.volumes.reading import read_volume  # noqa: E402
from samparser_monai.volumes.saving import SaveLabeld  # noqa: E402
from samparser_monai.volumes.transforms import ReadVolumed  # noqa: E402


class Read(Operator):
    """Emit the next volume with each call."""

    def __init__(
        self, fragment: Application, *args: Any, items: list[dict], **options: Any
    ) -> None:
        self.items = iter(items)
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Name the output."""
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Read a volume."""
        item = next(self.items)
        volume = read_volume(item["image"])
        affine = volume.affine.numpy()
        geometry = {"affine": affine, "original_affine": affine, "spacing": volume.pixdim.numpy()}
        meta = {**geometry, "filename_or_obj": str(item["image"]), "item": item}
        op_output.emit(Image(volume.numpy()[0], metadata=meta), "image")


class Segment(MonaiBundleInferenceOperator):
    """The bundle's inference; the prompts come with the volume."""

    def pre_process(self, data: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Apply the bundle's preprocessing but for the reader."""
        image = data["image"]
        self.item = image.meta["item"]
        meta = {key: image.meta[key] for key in ("filename_or_obj", "original_affine", "item")}
        found: Any = {"image": MetaTensor(image[None], affine=image.meta["affine"], meta=meta)}
        steps: tuple[Callable, ...] = self._preproc.transforms
        for step in steps:
            found = found if isinstance(step, ReadVolumed) else step(found)
        return found

    def predict(self, data: Any, *args: Any, **options: Any) -> Any:
        """Ask the bundle's inferer."""
        prompts = [self.item["prompts"]]
        return self._inferer(inputs=data, network=self._model_network, prompts=prompts)

    def post_process(self, data: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the label volume; what else the bundle does after inference writes files."""
        return {"pred": data}


class Write(Operator):
    """Write label volumes in the geometry of their sources."""

    def __init__(self, fragment: Application, *args: Any, output: Path, **options: Any) -> None:
        self.save = SaveLabeld(output)
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Name the input."""
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write a label volume."""
        image = op_input.receive("pred")
        meta = image.metadata()
        values = image.asnumpy().swapaxes(0, 2)[None]  # the SDK has depth first
        source = MetaTensor(values, affine=meta["original_affine"], meta=dict(meta))
        self.save({"image": source, "pred": source, "case": meta["item"]["case"]})


class SamParser(Application):
    """Read, segment, write."""

    def compose(self) -> None:
        """Connect the operators, and let the first one go on until there is no volume left."""
        context = init_app_context(self.argv)
        folder = Path(context.input_path)
        parser = ConfigParser()
        parser.read_config(BUNDLE / "configs" / "inference.json")
        parser.update({"bundle_root": str(BUNDLE)})
        labels = parser.get_parsed_content("labels")
        prompts = folder / "prompts.json"
        model = parser.get_parsed_content("model")
        items = inference_items(
            folder, prompts if prompts.exists() else None, labels, names=model.names
        )
        for item in items:
            if "error" in item:
                raise InputError(item["error"])
        read = Read(self, CountCondition(self, len(items)), items=items, name="read")
        segment = Segment(
            self,
            app_context=context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=BUNDLE,
            name="segment",
        )
        self.add_flow(read, segment, {("image", "image")})
        self.add_flow(segment, Write(self, output=Path(context.output_path), name="write"))


if __name__ == "__main__":
    SamParser().run()
