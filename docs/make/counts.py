"""Counts in pages, between markers: `<!-- count: quick checks -->37<!-- /count -->`.

    python docs/make/counts.py [FILE…]

Without files, those of the README and of the pages in docs/. Only what ships with xattr-check is counted.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pages import DOCS, ROOT

import xattr_check

MARKED = re.compile(r"(<!-- count: ([\w ]+) -->)[^<]*(<!-- /count -->)")


def counts() -> dict[str, int]:
    checks = [
        one for one in xattr_check.checks().values() if one.measure.__module__.startswith("xattr_axioms.")
    ]
    methods = [
        one for one in xattr_check.methods().values() if one.function.__module__.startswith("xattr_methods.")
    ]
    return {
        "checks": len(checks),
        "quick checks": sum(one.cost == "quick" for one in checks),
        "reference methods": sum(one.control is None for one in methods),
        "controls": sum(one.control is not None for one in methods),
    }


def filled(text: str, numbers: Mapping[str, int]) -> str:
    """The text with its counts; a marker that names none is an error."""

    def number(match: re.Match[str]) -> str:
        before, name, after = match.groups()
        if name not in numbers:
            raise SystemExit(f"count: {name}: expected one of {', '.join(numbers)}")
        return f"{before}{numbers[name]}{after}"

    return MARKED.sub(number, text)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    numbers = counts()
    for path in parser.parse_args(given).files or pages():
        before = path.read_text(encoding="utf-8")
        after = filled(before, numbers)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.name}: counts written")


if __name__ == "__main__":
    main()
