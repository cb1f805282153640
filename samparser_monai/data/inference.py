"""Volumes that wait for a prediction, with what people prompt them by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samparser_monai.data.abdomen_ct import FOLDERS, case_of, volumes_in
from samparser_monai.errors import InputError
from samparser_monai.prompt_files import read_prompts


def inference_items(
    root: str | Path, prompts: str | Path | None, labels: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """List the volumes of a folder, or one volume, with their prompts: {image, case, prompts}.

    Raises:
        InputError: no volumes, or prompts that cannot be used, see read_prompts.
    """
    root = Path(root)
    if prompts is None:
        raise InputError(
            "prompts is not given: name a JSON file of boxes, or a folder of coarse label "
            "volumes, by --prompts"
        )
    if root.is_file():
        volumes = {case_of(root): root}
    else:
        folder = next((root / n for n, _ in FOLDERS if (root / n).is_dir()), root)
        volumes = volumes_in(folder) if folder.is_dir() else {}
    if not volumes:
        raise InputError(
            f"dataset_dir={str(root)!r} holds no volumes: expected *.nii, *.nii.gz, or folders "
            "with a DICOM series each"
        )
    found = read_prompts(prompts, list(volumes), labels)
    return [
        {"image": str(path), "case": case, "prompts": found[case]} for case, path in volumes.items()
    ]
