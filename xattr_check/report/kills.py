"""A kill matrix as text, at most 80 columns wide."""

from collections import Counter
from collections.abc import Iterator, Sequence

from xattr_check.diagnosis.kill_matrix import DOSES, killed_by_claims, smallest_doses
from xattr_check.diagnosis.rows import Base, Outcome, Row
from xattr_check.diagnosis.work import Judged
from xattr_check.mutation.mutants import operators
from xattr_check.statistics.binomial import binomial_interval
from xattr_check.statistics.intervals import Interval
from xattr_check.wording import wrap

# Of the interval of a share: it is of one matrix, and looked at once.
ERROR_RATE = 0.05
# What a mutant may come to, and how a column of it is called.
COLUMNS: dict[Outcome, str] = {
    "killed": "killed",
    "survived": "survived",
    "undecided": "undecided",
    "equivalent": "equal",
    "not_applicable": "n/a",
}


def share_killed(rows: Sequence[Row]) -> Interval | None:
    """Of the mutants that count, how many are killed; None where there are none."""
    counted = [row.outcome == "killed" for row in rows if row.counts]
    return binomial_interval(sum(counted), len(counted), ERROR_RATE) if counted else None


def kills_by_check(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """Each check that kills: how many mutants, and how many alone; those that more hangs on come first."""
    all_kills = Counter(name for row in rows for name in row.killers)
    alone = Counter(row.killers[0] for row in rows if len(row.killers) == 1)
    found = [(name, count, alone[name]) for name, count in all_kills.items()]
    return sorted(found, key=lambda one: (-one[2], -one[1], one[0]))


def unkilled(rows: Sequence[Row]) -> list[Row]:
    """Mutants that survive, and those on which no check decides."""
    return [row for row in rows if row.outcome in ("survived", "undecided")]


def render_lines(judged: Judged) -> Iterator[str]:
    """Lines of the whole matrix."""
    plan = judged.plan
    seeds = ", ".join(map(str, plan.seeds))
    yield from wrap(f"kill matrix on {plan.subject}, {plan.settings.budget}, seed {seeds}", 0)
    yield from _total("mutants", judged.usual)
    yield ""
    yield from _methods(judged.bases, judged.usual)
    if judged.by_hand:
        yield ""
        yield from _total("broken by hand", judged.by_hand)
    yield ""
    yield from _checks([*judged.usual, *judged.by_hand], plan.thorough)
    if survivors := [*unkilled(judged.usual), *unkilled(judged.by_hand)]:
        yield ""
        yield "  not killed"
        for row in survivors:
            yield from _survivor(row)
    known = operators()
    mixed = [row for row in judged.rows if row.method and known[row.operator].mixes and row.counts]
    if claims := killed_by_claims(judged.usual):
        yield ""
        yield "  killed by claims alone"
        for row in claims:
            yield from wrap(f"{row.mutant}: {', '.join(row.killers)}", 4)
    if plan.doses and mixed:
        yield ""
        yield from _doses(mixed)


def _total(what: str, rows: Sequence[Row]) -> Iterator[str]:
    """`57 of 60 mutants are killed, 0.95 [0.86, 0.99]`, and how many do not count."""
    share = share_killed(rows)
    counts = Counter(row.outcome for row in rows)
    counted = sum(row.counts for row in rows)
    told = f"{what}: {counts['killed']} of {counted} killed{'' if share is None else f', {share}'}"
    claims = killed_by_claims(rows)
    told += f", {len(claims)} of them only by what the method claims" if claims else ""
    apart = [f"{counts[one]} {COLUMNS[one]}" for one in ("equivalent", "not_applicable") if counts[one]]
    yield from wrap("; ".join([told, *apart]), 2)


def _methods(bases: Sequence[Base], rows: Sequence[Row]) -> Iterator[str]:
    heads = " ".join(f"{head:>9}" for head in COLUMNS.values())
    yield f"  {'method':<28}{heads}"
    for base in bases:
        own = Counter(row.outcome for row in rows if (row.method, row.seed) == (base.method, base.seed))
        figures = " ".join(f"{own[one]:>9}" for one in COLUMNS)
        name = base.method.removeprefix("xattr:")
        if len(name) > 27:
            yield from wrap(name, 2)
            name = ""
        yield f"  {name:<28}{figures}"
        told = [f"not judged: {base.error}"] if base.error else [f"passes {len(base.passed)} required checks"]
        told += [f"fails {', '.join(base.failed)}"] if base.failed else []
        told += [f"maps like {base.nearest}"] if base.nearest else []
        yield from wrap("; ".join(told), 6)


def _checks(rows: Sequence[Row], thorough: bool) -> Iterator[str]:
    yield f"  {'check':<40}{'kills' if thorough else 'kills at least':>15} {'alone':>7}"
    for name, count, alone in kills_by_check(rows):
        yield f"  {name:<40}{count:>15} {alone:>7}"


def _survivor(row: Row) -> Iterator[str]:
    seed = f" (seed {row.seed})" if row.seed else ""
    yield from wrap(f"{row.mutant}{seed}: {row.outcome}", 4)
    undecided = [name for name, status in row.statuses.items() if status == "undecided"]
    parts = [f"{len(row.statuses)} check{'' if len(row.statuses) == 1 else 's'}"]
    parts += [f"undecided: {', '.join(undecided)}"] if undecided else []
    parts += [f"{row.likeness:.2f} of the right map"] if row.likeness is not None else []
    parts += [f"maps like {row.nearest}"] if row.nearest else []
    yield from wrap("; ".join(parts), 8)
    if row.closest:
        yield from wrap(f"closest: {row.closest}", 8)


def _doses(rows: Sequence[Row]) -> Iterator[str]:
    """The smallest dose that is killed, a line for each operator, a figure for each method."""
    found = smallest_doses(rows)
    tried = ", ".join(f"{dose:g}" for dose in DOSES)
    yield from wrap(f"smallest dose killed (of {tried}; – where none is)", 2)
    for operator in dict.fromkeys(row.operator for row in rows):
        figures = [
            f"{method.removeprefix('xattr:')} {'–' if dose is None else f'{dose:g}'}"
            for (method, name), dose in found.items()
            if name == operator
        ]
        yield from wrap(f"{operator}: {', '.join(figures)}", 4)
