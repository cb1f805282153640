"""Pages of results."""

from pathlib import Path
from typing import Annotated

import typer


def tables(
    docs: Annotated[Path, typer.Option(help="Folder of the pages.")] = Path("docs/reference"),
) -> None:
    """Write DOCS/results.md, with a picture to each study of results/, where this is run.

    Other generated pages, paper.md say, are written anew where they are there.
    """
    from samparser_monai.studies.tables.pages import write_pages

    for page in write_pages(docs):
        print(page)
