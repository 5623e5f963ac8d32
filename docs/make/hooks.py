"""The site's pages that live elsewhere in the repository: the README is its home.

MkDocs calls these hooks (mkdocs.yml). Links between pages are written as they work in the repository; here
those into docs/ lose the folder, those out of it go to the page that stands for the file, and links to source
files, which are no pages, become their text. A key of references.bib becomes a link to its source.
`<!-- maps: NAME -->` becomes the sheet of that name of docs/make/maps.py, which is drawn when the site is
built: no picture is kept in git. `<!-- maps: NAME, WORDS -->` says what is on it for who cannot see it.
"""

import importlib.util
import posixpath
import re
import sys
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
SOURCES = "sources.md"
MAPS = "maps"
PLACES = ("journal", "booktitle", "howpublished", "school", "publisher")
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
ENTRY = re.compile(r"^@\w+\{(\w+), (.*)\}$", re.M)
FIELD = re.compile(r"(\w+)=\{([^}]*)\}")
KEY = re.compile(r"\[([a-z]+\d{4}[a-z]?)\](?![(\[])|(?<=^- source: )([a-z]+\d{4}[a-z]?)$", re.M)
SHEET = re.compile(r"^<!-- maps: (\w+)(?:, (.+))? -->$", re.M)
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


def sources() -> str:
    """The page of what is cited, in the order of the bibliography."""
    lines = ["# Sources", "", "As BibTeX: [references.bib](references.bib).", ""]
    for key, fields in ENTRY.findall((ROOT / "docs" / "references.bib").read_text(encoding="utf-8")):
        found = {name: value.replace("\\&", "&") for name, value in FIELD.findall(fields)}
        where = next((found[name] for name in PLACES if name in found), "")
        parts = (found["author"].replace(" and ", ", "), f"*{found['title']}*", where, found["year"])
        lines.append(
            f'- <a id="{key}"></a>[{key}] ' + ". ".join(part.rstrip(".") for part in parts if part) + "."
        )
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text, source)))
    files.append(File.generated(config, SOURCES, content=sources()))
    for name in sheets():
        files.append(File.generated(config, f"{MAPS}/{name}.png", content=png(name)))
    return files


def sheets() -> list[str]:
    """The sheets of maps that pages show."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [name for page in pages for name, _ in SHEET.findall(page.read_text(encoding="utf-8"))]


def png(name: str) -> bytes:
    """A sheet of maps. Torch is imported for it alone."""
    spec = importlib.util.spec_from_file_location("maps", Path(__file__).with_name("maps.py"))
    assert spec is not None
    assert spec.loader is not None
    if (module := sys.modules.get("maps")) is None:
        module = sys.modules["maps"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    found: bytes = module.png(name)
    return found


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/; one that stands for another file was relinked when it was made."""
    name = page.file.src_uri
    if name == SOURCES:
        return markdown
    text = markdown if name in PAGES.values() else relinked(markdown, f"docs/{name}")
    text = SHEET.sub(shown, text)
    parts = CODE.split(text)
    return "".join(part if part.startswith("```") else KEY.sub(cited, part) for part in parts)


def shown(match: re.Match[str]) -> str:
    name, words = match.groups()
    return f"![{words or f'Maps of a {name}, method by method'}]({MAPS}/{name}.png)"


def cited(match: re.Match[str]) -> str:
    key = match[1] or match[2]
    return f"[[{key}]]({SOURCES}#{key})"


def on_serve(server: Any, **_: Any) -> Any:
    """Show changes of the files elsewhere as well."""
    for source in PAGES:
        server.watch(str(ROOT / source))
    return server
