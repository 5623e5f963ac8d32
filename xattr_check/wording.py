"""How a sentence for a person is put: names that are near, durations, lines of a terminal."""

import difflib
import textwrap
from collections.abc import Iterable

WIDTH = 80


def wrap(text: str, indent: int = 8) -> list[str]:
    """A text in lines of at most WIDTH columns."""
    blank = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=blank, subsequent_indent=blank, break_on_hyphens=False)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known names nearest to a name, all of them where they are few; empty without any."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3) or (names if len(names) <= 12 else [])
    return f"the nearest are {', '.join(near)}" if near else ""


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
