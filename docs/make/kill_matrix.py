"""Writes docs/kill_matrix.md, from the figures in docs/kill_matrix.json; measures them when asked.

    python docs/make/kill_matrix.py                                  # the page, from the figures as they are
    python docs/make/kill_matrix.py --measure digits,analytic [--seeds 0] [--doses] [--also] [-n 2]
    python docs/make/kill_matrix.py --measure digits --methods xattr:gradcam,xattr:occlusion

Mutants of right methods at the quick budget, as by `xattr-check kill-matrix`. What was judged is kept in the
storage, so that a measurement may be killed; the next one goes on from there. Figures of other subjects
stay as they are, and the page shows the oldest.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pages import DOCS, ROOT, Stamp, write

from xattr_check.config.loaders import load_methods
from xattr_check.config.modules import resolve
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.diagnosis.kill_matrix import DOSES, EQUIVALENT, killed_by_claims, smallest_doses
from xattr_check.diagnosis.rows import Row
from xattr_check.diagnosis.work import TABLE, Judged, Plan, judge, names_by_hand
from xattr_check.mutation.mutants import operators
from xattr_check.report.kills import COLUMNS, kills_by_check, share_killed, unkilled

FIGURES = DOCS / "kill_matrix.json"
BROKEN = ROOT / "tests" / "broken_methods.py"
MARKS = {"killed": "✓", "survived": "**✗**", "undecided": "**?**", "equivalent": "=", "not_applicable": "–"}
# By subject: a stamp and what `Judged.record` says.
Figures = dict[str, dict[str, Any]]


def lines(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    parts = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in parts)


def plain(method: str) -> str:
    """A reference method by its name alone, for a column."""
    return method.removeprefix("xattr:")


def methods(judged: Judged) -> str:
    """A row for each right method: what came of its mutants, and what it comes to by itself."""

    def rows() -> Iterator[Sequence[str]]:
        for base in judged.bases:
            own = [row for row in judged.usual if (row.method, row.seed) == (base.method, base.seed)]
            counts = [str(sum(row.outcome == one for row in own)) for one in COLUMNS]
            told = base.error or ", ".join(base.failed) or "–"
            yield [f"`{plain(base.method)}`", *counts, str(len(base.passed)), told, base.nearest or "–"]

    return lines(["method", *COLUMNS.values(), "checks that it passes", "that it fails", "maps like"], rows())


def matrix(judged: Judged) -> str:
    """A row for each operator, a column for each method; one mark for each seed."""
    names = list(dict.fromkeys(row.method for row in judged.usual))
    cells: dict[tuple[str, str], list[str]] = {}
    for row in judged.usual:
        cells.setdefault((row.operator, row.method), []).append(MARKS[row.outcome])

    def rows() -> Iterator[Sequence[str]]:
        for operator in dict.fromkeys(row.operator for row in judged.usual):
            marks = [" ".join(cells.get((operator, name), ["–"])) for name in names]
            if set(marks) != {"–"}:
                yield [f"`{operator}`", *marks]

    return lines(["operator", *(f"`{plain(name)}`" for name in names)], rows())


def checks(judged: Judged) -> str:
    """What each check kills, and what it alone does."""
    rows = [*judged.usual, *judged.by_hand]
    title = "kills" if judged.plan.thorough else "kills at least"
    return lines(
        ["check", title, "alone"],
        (["`" + name + "`", str(count), str(alone)] for name, count, alone in kills_by_check(rows)),
    )


def survivors(judged: Judged) -> str:
    """Each mutant that is not killed, with what its maps are like and the check that came nearest."""
    found = [*unkilled(judged.usual), *unkilled(judged.by_hand)]
    return "\n".join(map(survivor, found)) or "None."


def by_claims(judged: Judged) -> str:
    """Each mutant that only claims kill, with these."""
    found = killed_by_claims(judged.usual)
    return "\n".join(f"- `{row.mutant}`: {', '.join(row.killers)}" for row in found) or "None."


def survivor(row: Row) -> str:
    like = "" if row.likeness is None else f", {row.likeness:.2f} of the right map"
    near = f"; maps like {row.nearest}" if row.nearest else ""
    undecided = [name for name, status in row.statuses.items() if status == "undecided"]
    waits = f"; undecided: {', '.join(undecided)}" if undecided else ""
    seed = f" (seed {row.seed})" if row.seed else ""
    closest = f". Closest: {row.closest}" if row.closest else ""
    return f"- `{row.mutant}`{seed}: {row.outcome}{like}{near}{waits}{closest}"


def doses(judged: Judged) -> str:
    """The smallest dose that is killed, a row for each operator that mixes."""
    known = operators()
    mixed = [row for row in judged.rows if row.method and known[row.operator].mixes and row.counts]
    sought = {row.method for row in mixed if row.amount != known[row.operator].usual}
    if not sought:
        return "Not measured."
    mixed = [row for row in mixed if row.method in sought]
    tried = ", ".join(f"{dose:g}" for dose in DOSES)
    found = smallest_doses(mixed)
    names = list(dict.fromkeys(row.method for row in mixed))

    def rows() -> Iterator[Sequence[str]]:
        for operator in dict.fromkeys(row.operator for row in mixed):
            figures = [cell(found, name, operator) for name in names]
            yield [f"`{operator}`", *figures]

    table = lines(["operator", *(f"`{plain(name)}`" for name in names)], rows())
    smallest = [math.inf if dose is None else dose for dose in found.values()]
    told = f"Of {tried}; the median of {len(smallest)} is {statistics.median_low(smallest):g}."
    return f"{told}\n\n{table}"


def cell(found: Mapping[tuple[str, str], float | None], method: str, operator: str) -> str:
    if (method, operator) not in found:
        return "–"
    dose = found[method, operator]
    return "**none**" if dose is None else f"{dose:g}"


def families(rows: Sequence[Row]) -> str:
    """What came of those that were broken by hand, by the family of the check that each is named for."""
    named = resolve(f"{BROKEN}:{TABLE}", "--also", "", "TABLE", BROKEN.name)
    known = registry.checks()
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(known[named[row.mutant.rpartition(":")[2]]].family, []).append(row)

    def cells() -> Iterator[Sequence[str]]:
        for family, some in groups.items():
            counts = [str(sum(row.outcome == one for row in some)) for one in COLUMNS]
            yield [family, *counts]

    return lines(["it breaks what is asked by", *COLUMNS.values()], cells())


def told_share(rows: Sequence[Row]) -> str:
    """`57 of 60, 0.95 [0.86, 0.99]`."""
    share = share_killed(rows)
    if share is None:
        return "none that counts"
    killed, counted = sum(row.outcome == "killed" for row in rows), sum(row.counts for row in rows)
    claims = killed_by_claims(rows)
    told = f"; {len(claims)} of them only by what the method claims" if claims else ""
    return f"{killed} of {counted}, {share}{told}"


def section(name: str, judged: Judged, stamp: Stamp) -> str:
    """What is said of one subject."""
    seeds = ", ".join(map(str, judged.plan.seeds))
    told = [f"Killed: {told_share(judged.usual)}, at the quick budget (seeds: {seeds}), made at {stamp}."]
    if judged.by_hand:
        told.append(f"Of the methods in `tests/broken_methods.py`: {told_share(judged.by_hand)}.")
        told.append(families(judged.by_hand))
    parts = [
        f"## {name}",
        *told,
        methods(judged),
        matrix(judged),
        f"### What each check kills on {name}",
        checks(judged),
        f"### Not killed on {name}",
        survivors(judged),
        f"### Killed on {name} by claims alone",
        by_claims(judged),
        f"### The smallest dose that is killed on {name}",
        doses(judged),
    ]
    return "\n\n".join(parts)


def values(figures: Figures) -> dict[str, object]:
    """What the template asks for."""
    told = (f"- `{name}`: {one.statement} As where {one.defect}." for name, one in operators().items())
    sections = (section(name, Judged.from_record(one), stamp(one)) for name, one in figures.items())
    return {
        "subjects": "\n\n".join(sections),
        "operators": "\n".join(told),
        "equivalent": EQUIVALENT,
    }


def oldest(figures: Figures) -> Stamp:
    """The stamp of the figures that were measured first."""
    return min(map(stamp, figures.values()), key=lambda one: one.date)


def stamp(one: Mapping[str, Any]) -> Stamp:
    """That of the figures of one subject."""
    return Stamp(one["commit"], one["date"], one["changed"])


def dump(figures: Figures) -> str:
    """JSON with one line for each mutant."""

    def field(name: str, value: Any) -> str:
        if name not in ("bases", "rows"):
            return f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        inner = (f"   {json.dumps(one, ensure_ascii=False)}" for one in value)
        return f"  {json.dumps(name)}: [\n" + ",\n".join(inner) + "\n  ]"

    subjects = (
        f" {json.dumps(name)}: {{\n" + ",\n".join(field(*pair) for pair in one.items()) + "\n }"
        for name, one in figures.items()
    )
    return "{\n" + ",\n".join(subjects) + "\n}\n"


def measure(subject: str, arguments: argparse.Namespace) -> Judged:
    """What comes of the mutants on a subject."""
    given = arguments.methods.split(",") if arguments.methods else ["all"]
    by_hand = names_by_hand(str(BROKEN.relative_to(ROOT))) if arguments.also else []
    plan = Plan(
        settings=Settings(storage=arguments.storage),
        subject=subject,
        methods=tuple(one.name for one in load_methods(given)),
        operators=tuple(operators()),
        seeds=tuple(int(seed) for seed in arguments.seeds.split(",")),
        by_hand=tuple(by_hand),
        passing=not arguments.methods,
        minutes=arguments.minutes,
        doses=arguments.doses,
    )
    return judge(plan, arguments.n, tell=lambda message: print(message, file=sys.stderr))


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", metavar="SUBJECTS", help="with commas between")
    parser.add_argument("--methods", metavar="SPECS", help="with commas between; those that pass by default")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--doses", action="store_true")
    parser.add_argument("--also", action="store_true", help=f"judge those of {BROKEN.name} as well")
    parser.add_argument("--minutes", type=float, help="the cheapest methods that fit into them")
    parser.add_argument("-n", type=int, default=1, help="processes")
    parser.add_argument("--storage", default=".xattr")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--write", type=Path, default=DOCS / "kill_matrix.md")
    arguments = parser.parse_args(given)
    figures: Figures = json.loads(arguments.figures.read_text()) if arguments.figures.exists() else {}
    for subject in filter(None, (arguments.measure or "").split(",")):
        stamp = Stamp.now("kill_matrix")
        figures[subject] = {**asdict(stamp), **measure(subject, arguments).record()}
        arguments.figures.write_text(dump(figures), encoding="utf-8")
    write(arguments.write, "kill_matrix", oldest(figures), **values(figures))


if __name__ == "__main__":
    main()
