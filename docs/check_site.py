"""Check a built site: no dead link in it, nothing loaded from elsewhere.

python docs/check_site.py build/site
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

from bs4 import BeautifulSoup

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
CONTENT = "stylesheet", "icon", "preload", "modulepreload"  # what a <link> loads


def broken(site: Path) -> Iterator[str]:
    """Yield a line to each link that leads nowhere and each file that another host would have."""
    pages = {
        path: BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    for path, page in pages.items():
        for tag in page.find_all([*LOADED, "a"]):
            target = tag.get(LOADED.get(tag.name, "href")) or ""
            where = f"{path.relative_to(site)}: {target}"
            loaded = tag.name != "a" and (tag.name != "link" or {*CONTENT} & {*tag["rel"]})
            if urlparse(target).scheme or target.startswith("//"):
                if loaded and not target.startswith("data:"):
                    yield f"{where} is loaded from elsewhere"
                continue
            file, anchor = urldefrag(target)
            file = unquote(file.partition("?")[0])
            found = (path.parent / file).resolve() if file else path
            if not found.is_file():
                yield f"{where} is not there"
            elif anchor and found in anchors and unquote(anchor) not in anchors[found]:
                yield f"{where} has no such place"


if __name__ == "__main__":
    lines = list(broken(Path(sys.argv[1]).resolve()))
    print("\n".join(lines) or "no dead link, nothing from elsewhere")
    sys.exit(bool(lines))
