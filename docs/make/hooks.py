"""The site's pages that live elsewhere in the repository: the README is its home.

MkDocs calls these hooks (mkdocs.yml). Links between pages are written as they work in the repository; here
those into docs/ lose the folder, those out of it go to the page that stands for the file, and links to source
files, which are no pages, become their text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/xattr_example/README.md": "example.md",
}
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$)", re.M | re.S)


def relinked(text: str, source: str) -> str:
    """A page of the repository with its links as the site has them."""

    def link(match: re.Match[str]) -> str:
        words, path, anchor = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if (ROOT / target).is_dir():
            target += "/README.md"
        page = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        return words if page is None else f"[{words}]({page}{anchor or ''})"

    parts = CODE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text, source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/; one that stands for another file was relinked when it was made."""
    name = page.file.src_uri
    return markdown if name in PAGES.values() else relinked(markdown, f"docs/{name}")


def on_serve(server: Any, **_: Any) -> Any:
    """Show changes of the files elsewhere as well."""
    for source in PAGES:
        server.watch(str(ROOT / source))
    return server
