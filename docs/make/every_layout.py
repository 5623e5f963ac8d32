"""Writes docs/every_layout.md, from the figures in docs/every_layout.json; measures what is missing.

    python docs/make/every_layout.py                     # the page, from the figures as they are
    python docs/make/every_layout.py --measure beats,volume [--seeds 0,1] [--minutes 20]
    python docs/make/every_layout.py --measure beats --again deletion,iou    # those that changed, once more

Right and broken methods under the same gates on subjects of every layout. Right ones take all quick checks
but those of cost, broken ones those that ask for the model, the target and the place. Figures are kept after
each method, so that a run may be killed; the next one goes on from there.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from gates_travel import Figures, cell, dump, figure, flips, judged, key, oldest, seeds
from pages import DOCS, ROOT, Stamp, write

sys.path.append(str(ROOT / "tests"))

import broken_anywhere
import planted

import xattr_check
from xattr_check import Subject, Verdict, load_subject, run_battery
from xattr_check.core.method import Method

FIGURES = DOCS / "every_layout.json"
SHIPPED = ("digits", "columns", "regression", "beats", "beats4", "reviews", "reviews_transformer")
PLANTED = {"embeddings": "classes", "volume": "classes"}
SUBJECTS = (*SHIPPED, *PLANTED)
RIGHT = ("input_x_gradient", "integrated_gradients", "occlusion", "kernel_shap?samples=512")
RIGHT_CHECKS = "contract or sanity or faithfulness or localisation or relative"
# Of a broken method first the check that names the defect and those of the place, which take no time; where
# none of them fails it, all that ask for the model, the target and the place.
BROKEN_CHECKS = "contract or sanity or faithfulness"


def subject_of(name: str) -> Subject:
    """One that ships, or one that is trained at once."""
    return planted.planted(name, PLANTED[name]) if name in PLANTED else load_subject(name)


def methods_on(subject: Subject) -> Iterator[tuple[Method | str, str, Sequence[str]]]:
    """What is judged on a subject: the method, its name, and by which checks until one fails it."""
    for spec in RIGHT:
        if spec == "input_x_gradient" and subject.tokens:
            continue  # it says what setting an embedding to zero does, which is no word
        yield f"xattr:{spec}", spec, [RIGHT_CHECKS]
    for method in broken_anywhere.broken_on(subject):
        first = f"{broken_anywhere.BROKEN[method.name].by} or localisation"
        yield method, method.name, [first, f"({BROKEN_CHECKS}) and not ({first})"]


def judge(method: Method | str, subject: Subject, checks: Sequence[str], **options: Any) -> Iterator[Verdict]:
    """Verdicts of some checks, and of the next ones as long as none of them fails the method."""
    for some in checks:
        found = run_battery(method, subject, checks=some, **options)
        yield from found
        if any(one.required and one.status in ("fail", "error") for one in found):
            return


def measure(
    figures: Figures, subject: Subject, seed: int, save: Callable[[], None], until: float, **asked: str
) -> None:
    """Judge what has no figures yet, until a time of the clock; or anew by some checks what has some.

    asked: `again`, these checks; `only`, these methods; `storage`.
    """
    stamp, again, only = Stamp.now("every_layout"), asked["again"], asked["only"].split(",")
    for method, name, checks in methods_on(subject):
        entry = key(subject.name, seed, name)
        if (entry in figures) != bool(again) or (only != [""] and name not in only):
            continue
        if time.time() > until:
            return
        started = time.perf_counter()
        exprs = [again.replace(",", " or ")] if again else checks
        expected = "pass" if name in RIGHT else "fail"
        found = judge(method, subject, exprs, seed=seed, storage=asked["storage"])
        said = {one.check: figure(one, expected) for one in found}
        seconds = round(time.perf_counter() - started, 1)
        if again:
            figures[entry]["checks"] |= said
        else:
            figures[entry] = {**asdict(stamp), "seconds": seconds, "checks": said}
        save()
        counts = dict(Counter(one["status"] for one in said.values() if one["required"]))
        print(f"{seconds:6.1f} s  {entry}: {counts}", file=sys.stderr)


def names_in(figures: Figures) -> list[str]:
    """The broken methods that have figures, in the order in which they are declared."""
    there = {name.split(" ")[2] for name in figures}
    return [name for name in broken_anywhere.BROKEN if name in there]


def subjects_in(figures: Figures) -> list[str]:
    """The subjects that have figures."""
    there = {name.split(" ")[0] for name in figures}
    return [name for name in SUBJECTS if name in there]


def rows(head: Sequence[str], body: Iterator[Sequence[str]]) -> str:
    """A table in Markdown."""
    parts = [list(head), ["---"] * len(head), *map(list, body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in parts)


def right_table(figures: Figures) -> str:
    """A row for each check that gates, a column for each subject: right methods that pass / … / fail."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for subject, _, _, check, said in judged(figures, RIGHT):
        counts.setdefault(check, {}).setdefault(subject, Counter())[said["status"]] += 1
    order = [name for name in xattr_check.checks() if name in counts]
    there = subjects_in(figures)
    body = ([check, *(cell(counts[check].get(one, {})) for one in there)] for check in order)
    return rows(["check", *there], body)


def failing(figures: Figures, name: str, subject: str) -> Mapping[str, Sequence[str]]:
    """By seed, the required checks that fail a method on a subject."""
    return {
        entry.split(" ")[1]: [check for check, said in one["checks"].items() if fails(said)]
        for entry, one in figures.items()
        if entry.split(" ")[0] == subject and entry.split(" ")[2] == name
    }


def fails(said: Mapping[str, Any]) -> bool:
    """Whether a check that gates fails, or is in error."""
    return bool(said["required"] and said["status"] in ("fail", "error"))


def broken_table(figures: Figures) -> str:
    """A row for each defect, a column for each subject: the check that fails it on every seed.

    The one that names the defect where it does, else the first of the others.
    """
    there = subjects_in(figures)

    def told(name: str, subject: str) -> str:
        by_seed = [set(checks) for checks in failing(figures, name, subject).values()]
        common = set.intersection(*by_seed) if by_seed else set()
        order = (broken_anywhere.BROKEN[name].by, *xattr_check.checks())
        missed = "**none**" if not all(by_seed) else "others by seed"
        return next((one for one in order if one in common), missed if by_seed else "–")

    body = ([name, *(told(name, one) for one in there)] for name in names_in(figures))
    return rows(["defect", *there], body)


def unnoticed(figures: Figures) -> str:
    """A line for each broken method that no required check fails on some seed."""
    lines = [
        f"- `{subject}`, `{name}` (seed {seed})"
        for name in names_in(figures)
        for subject in subjects_in(figures)
        for seed, checks in failing(figures, name, subject).items()
        if not checks
    ]
    return "\n".join(lines) or "None."


def blind(figures: Figures) -> str:
    """A line for each check beyond the contract that passes broken methods: which ones, and where."""
    found: dict[str, dict[str, set[str]]] = {}
    for subject, _, name, check, said in judged(figures, names_in(figures)):
        if said["status"] == "pass" and xattr_check.checks()[check].family != "contract":
            found.setdefault(check, {}).setdefault(name, set()).add(subject)
    lines = []
    for check, names in found.items():
        told = "; ".join(f"`{name}` on {', '.join(sorted(where))}" for name, where in names.items())
        lines.append(f"- **{check}**: {told}")
    return "\n".join(lines) or "None."


def wrongly_failed(figures: Figures) -> str:
    """A line for each right method that a check which gates fails."""
    lines = [
        f"- `{subject}`, {check}, `{name}` (seed {seed}): {said['sentence']}"
        for subject, seed, name, check, said in judged(figures, RIGHT)
        if fails(said)
    ]
    return "\n".join(lines) or "None."


def values(figures: Figures) -> dict[str, object]:
    """What the template asks for."""
    return {
        "seeds": seeds(figures),
        "right": right_table(figures),
        "failed": wrongly_failed(figures),
        "broken": broken_table(figures),
        "unnoticed": unnoticed(figures),
        "flips": flips(figures, (*RIGHT, *names_in(figures))),
        "blind": blind(figures),
        "defects": "\n".join(
            f"- `{name}`: {' '.join((one.explain.__doc__ or '').split())} Named by {one.by}; on "
            f"{', '.join(sorted(one.layouts))}."
            for name, one in broken_anywhere.BROKEN.items()
        ),
    }


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", metavar="SUBJECTS", default="", help="names with commas between them")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--again", metavar="CHECKS", default="", help="these alone, of what has figures")
    parser.add_argument("--only", metavar="METHODS", default="", help="these alone")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no method is begun after them")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--write", type=Path, default=DOCS / "every_layout.md")
    arguments = parser.parse_args(given)
    figures: dict[str, Any] = json.loads(arguments.figures.read_text()) if arguments.figures.exists() else {}

    def save() -> None:
        arguments.figures.write_text(dump(figures), encoding="utf-8")

    until = time.time() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as storage:
        asked = {"again": arguments.again, "only": arguments.only, "storage": storage}
        for seed in map(int, arguments.seeds.split(",")):
            for name in filter(None, arguments.measure.split(",")):
                measure(figures, subject_of(name), seed, save, until, **asked)
    write(arguments.write, "every_layout", oldest(figures), **values(figures))


if __name__ == "__main__":
    main()
