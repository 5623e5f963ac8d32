"""A kill matrix, planned and worked off: by this process or by several, and where it stopped before."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

from xattr_check.battery.battery import Battery
from xattr_check.config.loaders import load_method
from xattr_check.config.modules import resolve
from xattr_check.config.selection import select
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.run import BUDGETS, OnProgress, silent
from xattr_check.diagnosis.forecast import Far, Forecast
from xattr_check.diagnosis.kill_matrix import KillMatrix
from xattr_check.diagnosis.price import PATIENCE, Price
from xattr_check.diagnosis.rows import Base, Row
from xattr_check.diagnosis.workers import Task, Tasks, Work, workers
from xattr_check.errors import UsageError
from xattr_check.mutation.mutants import operators

# Mutants of one method that a process takes at once: its maps are computed anew in another that takes some.
PORTION = 6
FOLDER = "kill_matrix"
# Besides the usual dose of an operator that mixes, until the smallest is found by halves.
MORE_DOSES = 2
# Why a method was not judged.
OVER = "the time was over before it was judged"
# The table of a file of broken methods, by their names.
TABLE = "CAUGHT_BY"


@dataclass(frozen=True)
class Plan:
    """What is to be judged.

    settings: with the checks, the budget and the storage; they expect no failures. subject, methods: their
        specs. operators: their names. by_hand: specs of methods that were broken by hand.
    passing: whether mutants are made only of methods that fail no required check by themselves.
    minutes: the cheapest methods are judged that fit into so many, and nothing is begun after them; all of
        them for None.
    doses: whether the smallest dose that is killed is sought for operators that mix.
    thorough: whether all checks judge each mutant.
    """

    settings: Settings
    subject: str
    methods: tuple[str, ...]
    operators: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    by_hand: tuple[str, ...] = ()
    passing: bool = False
    doses: bool = False
    thorough: bool = False
    minutes: float | None = None

    @property
    def mutants(self) -> float:
        """About how many mutants of a method are judged, for each seed."""
        mixing = sum(operators()[name].mixes for name in self.operators)
        return len(self.operators) + (MORE_DOSES * mixing if self.doses else 0)

    @property
    def share(self) -> float:
        """How many rows there are, of those of all checks of a quick run."""
        known = registry.checks()
        chosen, usual = (
            len(select(asked, known, budget))
            for asked, budget in ((self.settings.checks, self.settings.budget), (None, "quick"))
        )
        return chosen / usual * BUDGETS[self.settings.budget] / BUDGETS["quick"]

    def seconds(self, price: Price) -> float:
        """What one process takes for a method and its mutants."""
        return len(self.seeds) * self.share * price.seconds(self.mutants, self.thorough)

    @property
    def folder(self) -> Path:
        """Where rows are kept."""
        return Path(self.settings.storage) / FOLDER

    def takes(self, base: Base) -> bool:
        """Whether mutants are made of a right method."""
        return not base.error and not (self.passing and base.failed)


@dataclass(frozen=True)
class Judged:
    """What came of a plan: of the right methods, of their mutants, and of those that were made by hand."""

    plan: Plan
    bases: tuple[Base, ...] = ()
    rows: tuple[Row, ...] = ()

    @cached_property
    def usual(self) -> list[Row]:
        """Mutants of each method by each operator in its usual amount."""
        known = operators()
        return [
            row
            for row in self.rows
            if row.method and (row.amount is None or row.amount == known[row.operator].usual)
        ]

    @cached_property
    def by_hand(self) -> list[Row]:
        """Methods that were broken by hand."""
        return [row for row in self.rows if not row.method]

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        plan = self.plan
        return {
            "subject": plan.subject,
            "budget": plan.settings.budget,
            "seeds": list(plan.seeds),
            "thorough": plan.thorough,
            "methods": list(plan.methods),
            "operators": list(plan.operators),
            "bases": [base.record() for base in self.bases],
            "rows": [row.record() for row in self.rows],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Judged":
        """What a record tells of; its settings are the budget's."""
        plan = Plan(
            settings=Settings(budget=record["budget"]),
            subject=record["subject"],
            methods=tuple(record["methods"]),
            operators=tuple(record["operators"]),
            seeds=tuple(record["seeds"]),
            thorough=record["thorough"],
        )
        bases = tuple(Base.from_record(one) for one in record["bases"])
        return cls(plan, bases, tuple(Row.from_record(one) for one in record["rows"]))


def names_by_hand(file: str, option: str = "--also") -> list[str]:
    """The specs of the methods in a file that has a table of them, `CAUGHT_BY`. Raises UsageError.

    The keys of the table are names of functions or classes in the file, entered there by whatever it does.
    """
    table: Any = resolve(f"{file}:{TABLE}", option, f"tests/broken_methods.py:{TABLE}", "TABLE", file)
    if not isinstance(table, Mapping):
        raise UsageError(
            option=option, value=file, expected=f"{TABLE} to be a table by name", came=type(table).__name__
        )
    return [f"{file}:{name}" for name in table]


@dataclass(eq=False)
class _Bench:
    """The matrices of a plan in one process, one for each seed."""

    plan: Plan
    progress: OnProgress = silent
    _matrices: dict[int, KillMatrix] = field(default_factory=dict)

    def matrix(self, seed: int) -> KillMatrix:
        """That of a seed; of the same subject and methods as the others."""
        if seed not in self._matrices:
            plan = self.plan
            if self._matrices:
                battery = next(iter(self._matrices.values())).battery.by_seed(seed)
            else:
                settings = replace(plan.settings, seed=seed)
                battery = Battery(settings, plan.methods, [plan.subject], progress=self.progress)
            self._matrices[seed] = KillMatrix(battery, plan.folder, plan.thorough)
        return self._matrices[seed]

    def price(self, method: str) -> Price:
        """How fast a right method is."""
        return self.matrix(self.plan.seeds[0]).price(method)

    def base(self, seed: int, method: str) -> Base:
        """A right method by itself."""
        return self.matrix(seed).base(method)

    def rows(self, seed: int, base: Base, names: Sequence[str]) -> list[Row]:
        """Mutants of a method by these operators."""
        matrix, known, found = self.matrix(seed), operators(), []
        for name in names:
            found.append(matrix.row(base, known[name]))
            if self.plan.doses and known[name].mixes and found[-1].counts:
                usual = found[-1].amount
                found += [row for row in matrix.doses(base, known[name]) if row.amount != usual]
        return found

    def by_hand(self, seed: int, order: Sequence[str], specs: Sequence[str]) -> list[Row]:
        """Methods that were broken by hand."""
        return [self.matrix(seed).by_hand(load_method(spec, "--also"), order) for spec in specs]


def judge(plan: Plan, processes: int = 1, tell: OnProgress = silent, progress: OnProgress = silent) -> Judged:
    """What comes of a plan; what was judged before is read.

    tell: told of how long it will take, of each method and each portion of mutants that is done, and now and
        then that others are at work. progress: as of a run, where this
    process does it all.
    """
    bases: list[Base] = []
    rows: list[Row] = []
    by_hand = plan.by_hand
    began = time.monotonic()
    with workers(partial(_Bench, plan, progress if processes == 1 else silent), processes, tell) as work:
        forecast = Forecast.of(_prices(plan, work, tell), plan.seconds, processes, plan.minutes)
        tell(forecast.told)
        while forecast.taken or by_hand:
            until = math.inf if plan.minutes is None else began + 60 * plan.minutes
            found, made = _round(plan, forecast.taken, by_hand, work, tell, until)
            bases += found
            rows += made
            by_hand = ()
            if plan.minutes is None:
                break
            took = sum(base.seconds for base in found) + sum(row.seconds for row in made)
            left = plan.minutes - (time.monotonic() - began) / 60
            forecast = forecast.corrected(took, left)
            if forecast.taken:
                tell(f"there is time left: {forecast.told}")
    for price in forecast.left_out:
        tell(f"{price.method}: {forecast.why_left_out(price)}")
    bases += [
        Base(one.method, seed, error=forecast.why_left_out(one))
        for seed, one in product(plan.seeds, forecast.left_out)
    ]
    places = {name: number for number, name in enumerate((*plan.operators, *plan.by_hand))}
    rows.sort(key=lambda row: (row.method, places[row.operator], -(row.amount or 0), row.seed))
    return Judged(plan, tuple(sorted(bases, key=lambda one: (one.method, one.seed))), tuple(rows))


def _prices(plan: Plan, work: Work, tell: OnProgress) -> list[Price]:
    """What each of the methods takes for a few maps."""
    count = len(plan.methods)
    tell(f"asking {count} method{'s'[: count - 1]} how long a map takes, for at most {PATIENCE:.0f} s each")
    tasks = Tasks(Task(name, partial(_price, name)) for name in plan.methods)
    prices: list[Price] = [price for found in work(tasks) for price in found]
    return sorted(prices, key=lambda price: plan.methods.index(price.method))


def _round(
    plan: Plan,
    taken: Sequence[Price],
    by_hand: Sequence[str],
    work: Work,
    tell: OnProgress,
    until: float,
) -> tuple[list[Base], list[Row]]:
    """Some of the methods with their mutants, and what was broken by hand.

    until: when no more is begun, of `time.monotonic()`.
    """
    bases: list[Base] = []
    rows: list[Row] = []
    asked = list(product(plan.seeds, (one.method for one in taken)))
    portions, last = _portions(plan.operators), list(product(plan.seeds, _portions(by_hand)))
    far = Far(len(asked) * (1 + len(portions)) + len(last), "parts")
    tasks = Tasks(Task((seed, name), partial(_base, seed, name)) for seed, name in asked)
    for found in work(tasks):
        if isinstance(found[0], Base):
            (base,) = found
            bases.append(base)
            if takes := plan.takes(base):
                about = base.seed, base.method
                tasks.add(Task(about, partial(_rows, base.seed, base, names)) for names in portions)
            tell(f"{base.method}: {_told_of(base)} {far.step(1 if takes else 1 + len(portions))}")
        else:
            rows += found
            tell(f"{_told_of_rows(found)} {far.step()}")
        _stop(tasks, until, tell)
    reached = {(base.seed, base.method) for base in bases}
    bases += [Base(name, seed, error=OVER) for seed, name in asked if (seed, name) not in reached]
    order = _order(sorted(bases, key=lambda base: asked.index((base.seed, base.method))))
    tasks = Tasks(Task(one, partial(_by_hand, one[0], order, one[1])) for one in last)
    _stop(tasks, until, tell)
    for found in work(tasks):
        rows += found
        tell(f"{_told_of_rows(found)} {far.step()}")
        _stop(tasks, until, tell)
    return bases, rows


def _stop(tasks: Tasks, until: float, tell: OnProgress) -> None:
    """Let no more be begun after the time is over."""
    if time.monotonic() >= until and (left := tasks.drop()):
        tell(f"the time is over, and {left} parts are left; the same command with more --minutes goes on")


def _told_of(base: Base) -> str:
    if base.error:
        return base.error
    failed = f", and fails {', '.join(base.failed)}" if base.failed else ""
    return f"passes {len(base.passed)} required checks{failed}"


def _told_of_rows(rows: Sequence[Row]) -> str:
    """`xattr:gradcam: 4 killed, 2 equivalent`."""
    counts = Counter(row.outcome.replace("_", " ") for row in rows)
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    return f"{rows[0].method or 'broken by hand'}: {told}"


def _order(bases: Sequence[Base]) -> list[str]:
    """In which order checks are asked about what was broken by hand: as of the first right method."""
    return list(bases[0].passed) if bases else []


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + PORTION] for start in range(0, len(names), PORTION)]


def _price(name: str, bench: _Bench) -> list[Any]:
    return [bench.price(name)]


def _base(seed: int, name: str, bench: _Bench) -> list[Any]:
    return [bench.base(seed, name)]


def _rows(seed: int, base: Base, names: Sequence[str], bench: _Bench) -> list[Any]:
    return bench.rows(seed, base, names)


def _by_hand(seed: int, order: Sequence[str], specs: Sequence[str], bench: _Bench) -> list[Any]:
    return bench.by_hand(seed, order, specs)
