"""Pages of measured figures: prose from a template, and a stamp that says at which commit they were made.

A template is docs/make/templates/NAME.md, in Jinja's syntax. Its stamp declares the paths that its figures
depend on, which `docs/make/stale.py` holds against the history:

    <!-- reports on: axioms xattr_check/core -->
    *Made at {{ stamp }} by `docs/make/verdicts.py`.*
"""

import datetime
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jinja2

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEMPLATES = Path(__file__).parent / "templates"
PATHS = re.compile(r"^<!-- reports on: (.+) -->$", re.M)
MADE = re.compile(r"^\*Made at commit `(\w+)`( with changes)? on (\d{4}-\d\d-\d\d) by `(\S+)`\.\*$", re.M)


@dataclass(frozen=True)
class Stamp:
    """At which commit a page was made.

    date: of the day it was made, `2026-11-22`.
    changed: whether the tree had changes in what is reported on that no commit has.
    """

    commit: str
    date: str
    changed: bool = False

    def __str__(self) -> str:
        return f"commit `{self.commit}`{' with changes' if self.changed else ''} on {self.date}"

    @classmethod
    def now(cls, name: str) -> "Stamp":
        """Of the tree as it is: taken before measuring, since hours may pass until the page is written."""
        paths = reported(template(name))
        changed = bool(git("status", "--porcelain", "--", *paths))
        return cls(git("rev-parse", "--short", "HEAD"), datetime.date.today().isoformat(), changed)

    @classmethod
    def of(cls, page: Path) -> "Stamp | None":
        """That of a page written before, which it keeps where only some of its rows are measured again."""
        found = MADE.search(page.read_text(encoding="utf-8")) if page.exists() else None
        return cls(found[1], found[3], bool(found[2])) if found else None


def git(*arguments: str) -> str:
    """What git says in this repository."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.md").read_text(encoding="utf-8")


def reported(text: str) -> list[str]:
    """The paths that a page or a template says it reports on."""
    found = PATHS.search(text)
    return found[1].split() if found else []


def render(name: str, stamp: Stamp, **values: object) -> str:
    """A page, of its template, its stamp and the values of its placeholders."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False
    )
    return environment.from_string(template(name)).render(stamp=stamp, **values)


def write(path: Path, name: str, stamp: Stamp, **values: object) -> None:
    path.write_text(render(name, stamp, **values), encoding="utf-8")
