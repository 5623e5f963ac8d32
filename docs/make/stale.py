"""Which pages are stale: the code whose figures they report has changed since they were made.

    python docs/make/stale.py [--strict]

Pages with the stamp of docs/make/pages.py are looked at, and those that `make docs` writes from the code: the
reference, the counts, the page of verdicts. With --strict, a stale one makes it exit with 1.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pages import DOCS, MADE, ROOT, git, render, reported


@dataclass(frozen=True)
class Page:
    """A page with a stamp.

    changes: subjects of the commits since then that touch what it reports on, the newest first.
    trouble: why nothing can be said of it, or nothing.
    """

    name: str
    maker: str
    changes: Sequence[str] = ()
    trouble: str = ""

    @property
    def stale(self) -> bool:
        return bool(self.changes or self.trouble)

    def __str__(self) -> str:
        if self.trouble:
            return f"{self.name}: {self.trouble}; {self.maker} writes it"
        if not self.changes:
            return f"{self.name}: fresh"
        count = "1 commit" if len(self.changes) == 1 else f"{len(self.changes)} commits"
        return f"{self.name}: STALE by {count}; {self.maker} writes it\n    last: {self.changes[0]}"


def examine(path: Path) -> Page | None:
    """What the history says of a page, None for one without a stamp."""
    text = path.read_text(encoding="utf-8")
    made, paths = MADE.search(text), reported(text)
    if made is None or not paths:
        return None
    commit, changed, _, maker = made.groups()
    missing = [one for one in paths if not (ROOT / one).exists()]
    if missing:
        return Page(path.name, maker, trouble=f"reports on {', '.join(missing)}, which is not there")
    if changed:
        return Page(path.name, maker, trouble=f"made from a tree with changes on {commit}")
    try:
        log = git("log", "--format=%s", f"{commit}..HEAD", "--", *paths)
    except subprocess.CalledProcessError:
        return Page(path.name, maker, trouble=f"made at {commit}, which this history does not have")
    return Page(path.name, maker, log.splitlines())


def examined(folder: Path = DOCS) -> Iterator[Page]:
    for path in sorted(folder.glob("*.md")):
        page = examine(path)
        if page is not None:
            yield page


def outdated() -> Iterator[Page]:
    """The pages that are not what `make docs` would write, which takes no measuring."""
    # They import all that is installed.
    import counts
    import verdicts

    from xattr_check.report import reference

    figures = json.loads(verdicts.FIGURES.read_text(encoding="utf-8"))
    written = {
        DOCS / "reference.md": reference.document(),
        DOCS / "verdicts.md": render("verdicts", verdicts.oldest(figures), **verdicts.values(figures)),
    }
    numbers = counts.counts()
    for path in counts.pages():
        there = path.read_text(encoding="utf-8")
        if counts.filled(written.get(path, there), numbers) != there:
            yield Page(path.name, "make docs", trouble="not what the code says")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true")
    strict = parser.parse_args(arguments).strict
    pages = [*examined(), *outdated()]
    for page in pages:
        print(page)
    return int(strict and any(page.stale for page in pages))


if __name__ == "__main__":
    sys.exit(main())
