"""Segment volumes or pictures that wait for it: the short form of MONAI's two inferences."""

from pathlib import Path
from typing import Annotated

import typer

from samparser_monai.commands.running import AsJson, run, split, takes_keys
from samparser_monai.errors import InputError
from samparser_monai.files import ends_with, files_below
from samparser_monai.monai_command import command_of


@takes_keys
def segment(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder of what is found.")
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="CT... [--KEY VALUE]...")] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Boxes, points or masks: JSON, CSV, a folder."),
    ] = None,
    organs: Annotated[
        str | None,
        typer.Option(help="Asked for by name, where the model knows names: liver,spleen"),
    ] = None,
    tuned: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A tuned part, a run's folder, or `published` for SAM as it came. "
            "Without it: models/model.pt here.",
        ),
    ] = None,
    pictures: Annotated[
        bool | None,
        typer.Option("--pictures/--volumes", help="What they are, where names do not tell."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Segment CT...: files, a folder, a folder of a DICOM series, or a datalist; or pictures.

    OUT gets a label volume to each, cases.csv and index.html; of pictures a PNG and a JSON file.
    """
    words, options = split(arguments)
    if not words:
        raise InputError("name what to segment: a file, several, a folder or a datalist")
    for word in words:
        if not Path(word).exists():
            raise InputError(f"{word} does not exist: correct the path")
    if tuned is not None and Path(tuned).is_dir():
        from samparser_monai.tuned.finding import part_in

        tuned = str(part_in(tuned))
    given = {"prompts": prompts, "organs": organs, "tuned": tuned, "output_dir": str(output)}
    options |= {"dataset_dir": words[0] if len(words) == 1 else str(words)}
    options |= {key: value for key, value in given.items() if value is not None}
    if pictures is None:
        pictures = shows_pictures([Path(word) for word in words])
    parts = command_of("inference_pictures" if pictures else "inference", options)
    run(parts, output / "run.json" if as_json else None)


def shows_pictures(paths: list[Path]) -> bool:
    """Tell whether there are pictures and no volumes: by endings, and DICOM files by their start.

    Scanners write DICOM files without an ending, and a preview may lie beside them.
    """
    from samparser_monai.pictures import finding
    from samparser_monai.volumes import reading

    volumes = (*reading.ENDINGS, ".dcm")
    files = [f for path in paths for f in (files_below(path) if path.is_dir() else [path])]
    pictures = any(ends_with(file, finding.ENDINGS) for file in files)
    others = [file for file in files if not ends_with(file, finding.ENDINGS)]
    return pictures and not any(ends_with(file, volumes) or _is_dicom(file) for file in others)


def _is_dicom(file: Path) -> bool:
    from samparser_monai.volumes.dicom import is_dicom

    try:
        return file.is_file() and is_dicom(file)
    except OSError:  # what cannot be opened tells nothing
        return False
