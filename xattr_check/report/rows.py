"""What a report shows: verdicts of runs by check, with their charts."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from markupsafe import Markup

from xattr_check.core import registry
from xattr_check.core.verdict import Key, Verdict
from xattr_check.history.saved import SavedRun
from xattr_check.report import charts
from xattr_check.report.looks import Look, look, name_rows, needs_attention, status_name
from xattr_check.report.table import in_order
from xattr_check.storage.digest import safe_name

# Saved runs in a trend, and reference methods on one axis, at most.
MOST_RUNS, MOST_REFERENCES = 12, 24


@dataclass(frozen=True)
class ReportedRun:
    """A run to report.

    run: where its results come from, as `history.document` has it. pictures: files by what they show.
    """

    name: str
    run: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    pictures: Mapping[Key, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, saved: SavedRun) -> "ReportedRun":
        """A saved run."""
        return cls(str(saved), saved.run, list(saved.verdicts.values()), saved.pictures)


@dataclass(frozen=True)
class Row:
    """A verdict in the report.

    label: its method, with its subject where several are shown, and with the run where several have both.
    """

    label: str
    verdict: Verdict
    source: ReportedRun

    @property
    def mark(self) -> str:
        """Its status as the table says it."""
        return status_name(self.verdict).lower()

    @property
    def look(self) -> Look:
        """How it is shown."""
        return look(self.verdict)

    @property
    def attention(self) -> bool:
        """Whether a reader has to look at it."""
        return needs_attention(self.verdict)

    @property
    def sentence(self) -> str:
        """What was seen, with the figure that it goes on from."""
        return self.verdict.text

    @property
    def anchor(self) -> str:
        """The id of it in the page."""
        return f"v-{safe_name(self.label)}-{safe_name(self.verdict.check)}"

    @property
    def command(self) -> str:
        """What judges it again."""
        options = self.source.run.get("options") or {"seed": self.source.run.get("seed", 0)}
        subjects = self.source.run.get("subjects") or {}
        if len(subjects) > 1 and self.verdict.subject in subjects:
            options = {"subject": subjects[self.verdict.subject], **options}
        words = ["pytest", self.verdict.node_id]
        words += [f"--xattr-{name.replace('_', '-')}={value}" for name, value in options.items()]
        return shlex.join(words)

    @property
    def unit(self) -> str:
        """Of the method's maps, empty where that is the model's own or not known."""
        library, _, name = self.verdict.method.partition("?")[0].partition(":")
        known = registry.methods().get(name) if library == "xattr" else None
        return "" if known is None else known.unit

    @property
    def why(self) -> str:
        """Why its status does not gate, or an empty string."""
        if self.verdict.required:
            return ""
        return self.verdict.advisory or "the method does not claim it"


@dataclass(frozen=True)
class Check:
    """All verdicts of one check on one subject, with its charts.

    subject: where several are shown, else an empty string.
    """

    name: str
    family: str
    rows: Sequence[Row]
    others: Sequence[charts.Dot]
    trends: Mapping[str, Sequence[charts.Point]]
    subject: str = ""

    @property
    def anchor(self) -> str:
        """The id of it in the page."""
        return "-".join(["c", safe_name(self.name), *([safe_name(self.subject)] if self.subject else [])])

    @property
    def title(self) -> str:
        """What it is called among the others."""
        return f"{self.name} on {self.subject}" if self.subject else self.name

    @property
    def attention(self) -> bool:
        """Whether one of its verdicts has to be looked at."""
        return any(row.attention for row in self.rows)

    @cached_property
    def declared(self) -> Any:
        """The check as it is installed, None where it is not."""
        return registry.checks().get(self.name.partition("?")[0])

    @property
    def statement(self) -> str:
        """What must hold."""
        return "" if self.declared is None else self.declared.statement

    @property
    def reads(self) -> str:
        """What the figure is."""
        return "" if self.declared is None else self.declared.reading(self.name)

    @property
    def longest(self) -> Verdict:
        """Of which controls are shown: they are the same for all, but for how many draws there are."""
        return max((row.verdict for row in self.rows), key=lambda verdict: verdict.n)

    @property
    def bound(self) -> float | None:
        """Where the gate is on the axis of the figure: beside the best control, or the worst reference."""
        verdict = self.longest
        if verdict.references:
            held = [verdict.controls.get(name, math.nan) for name in verdict.references]
            held = [value for value in held if math.isfinite(value)]
            worst = max if verdict.better == "lower" else min
            if verdict.reaches:
                return verdict.scale * min(held) if held else None
            margin = verdict.scale if verdict.better == "lower" else -verdict.scale
            return worst(held) + margin if held else None
        if not verdict.beats:
            return verdict.bound
        positive = () if self.declared is None else self.declared.positive
        rivals = [value for name, value in verdict.controls.items() if name not in positive]
        rivals = [value for value in rivals if math.isfinite(value)]
        if not rivals or verdict.best is None:
            return None
        nearest = min(rivals) if verdict.better == "lower" else max(rivals)
        return nearest + verdict.scale * (verdict.best - nearest)

    def label_of(self, control: str) -> str:
        """The name of a control, and whether it is one that has to pass."""
        right = self.declared is not None and control in self.declared.positive
        return f"{control}, which is right" if right else f"control {control}"

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """How many verdicts of each kind, with what colours them."""
        marks = dict.fromkeys((row.mark, row.look.tone) for row in self.rows)
        return [(mark, tone, sum(row.mark == mark for row in self.rows)) for mark, tone in marks]

    @cached_property
    def strip(self) -> Markup:
        """The figures of methods and controls on one axis."""
        own = [dot for row in self.rows if (dot := charts.dots(row.verdict, row.label))]
        if not own or self.family == "contract":
            return Markup()
        controls = self.longest.controls
        others = [charts.Dot(self.label_of(name), value, value, value) for name, value in controls.items()]
        others = [dot for dot in others if math.isfinite(dot.value)]
        label = self.reads or self.name
        return Markup(charts.strip(own, [*others, *self.others], self.bound, label, f"strip {self.title}"))

    @cached_property
    def curves(self) -> Markup:
        """What was measured along an axis."""
        ranked = self.rows
        if len(ranked) > charts.MOST_LINES:
            ranked = sorted(ranked, key=lambda row: not row.attention)
        found = {row.label: row.verdict.figure for row in ranked if row.verdict.figure is not None}
        return Markup(charts.curves(found, f"curves {self.title}")) if found else Markup()

    @property
    def left_out(self) -> int:
        """How many methods have no line among the curves."""
        count = sum(row.verdict.figure is not None for row in self.rows)
        return max(0, count - charts.MOST_LINES)

    @cached_property
    def trend(self) -> Markup:
        """The figures over saved runs."""
        if not self.trends:
            return Markup()
        return Markup(charts.trend(self.trends, self.bound, self.name, f"trend {self.title}"))


def rows_of(sources: Sequence[ReportedRun]) -> list[Row]:
    """The verdicts of all runs, in the order of the battery."""
    name = name_rows(verdict for source in sources for verdict in source.verdicts)
    several = [label for source in sources for label in {name(verdict) for verdict in source.verdicts}]
    found = []
    for source in sources:
        for verdict in in_order(source.verdicts):
            label = name(verdict)
            if several.count(label) > 1:
                label = f"{label} ({source.name})"
            found.append(Row(label, verdict, source))
    return found


def checks_of(rows: Sequence[Row], history: Sequence[SavedRun]) -> Iterator[Check]:
    """The verdicts by check and subject, in the order of the battery, beside what saved runs say."""
    by_check: dict[tuple[str, str], list[Row]] = {}
    order = in_order([_alike(row.verdict) for row in rows])
    names = dict.fromkeys(verdict.check for verdict in order)
    subjects = list(dict.fromkeys(row.verdict.subject for row in rows))
    for row in rows:
        by_check.setdefault((row.verdict.check, row.verdict.subject), []).append(row)
    for name, subject in product(names, subjects):
        if own := by_check.get((name, subject)):
            shown = subject if len(subjects) > 1 else ""
            references, trends = list(_references(own, history)), _trends(own, history)
            yield Check(name, own[0].verdict.family, own, references, trends, shown)


def _alike(verdict: Verdict) -> Verdict:
    """A verdict whose place among others follows neither from its method nor from its subject."""
    return replace(verdict, method="", subject="")


def _references(rows: Sequence[Row], history: Sequence[SavedRun]) -> Iterator[charts.Dot]:
    """The latest figures of reference methods that were measured alike, and are not shown themselves."""
    first, shown = rows[0], {row.verdict.method for row in rows}
    found: dict[str, charts.Dot] = {}
    for run in history:
        if run.run.get("seed") != first.source.run.get("seed"):
            continue
        for key, verdict in run.verdicts.items():
            wanted = first.verdict.check, first.verdict.fingerprint, first.verdict.code
            alike = (key.check, verdict.fingerprint, verdict.code) == wanted
            if not alike or key.method in shown or not key.method.startswith("xattr:"):
                continue
            if (dot := charts.dots(verdict, key.method)) is not None:
                found[key.method] = charts.Dot(key.method, dot.value, dot.low, dot.high)
    yield from list(found.values())[:MOST_REFERENCES]


def _trends(rows: Sequence[Row], history: Sequence[SavedRun]) -> dict[str, list[charts.Point]]:
    """Figures of methods in saved runs of the same subject and seed, where there is more than one."""
    found: dict[str, list[charts.Point]] = {}
    done = set()
    for row in rows[: charts.MOST_LINES]:
        verdict, seed = row.verdict, row.source.run.get("seed")
        same = (verdict.method, verdict.fingerprint, seed)
        if same in done:  # the same method in another run that is shown
            continue
        done.add(same)
        drawn = {
            f"{run.started.isoformat()} {run.path.name}": (_when(run.run), one)
            for run in history
            if (one := run.verdicts.get(verdict.key)) is not None
            and (one.fingerprint, run.run.get("seed")) == same[1:]
            and run.run != row.source.run
        }
        if "started" in row.source.run:
            drawn[row.source.run["started"]] = (_when(row.source.run), verdict)
        points = [
            charts.Point(place, when, dot)
            for place, (when, one) in sorted(drawn.items())
            if (dot := charts.dots(one, row.label)) is not None
        ]
        if len(points) > 1:
            found[row.label] = points[-MOST_RUNS:]
    return found


def _when(run: Mapping[str, Any]) -> str:
    started = datetime.fromisoformat(run["started"])
    return f"{run.get('name') or 'unnamed'} {started:%m-%d %H:%M}"
