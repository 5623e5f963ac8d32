"""The report of one run or of several: a single HTML file that needs nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import jinja2
from PIL import Image

from xattr_check.core.verdict import Verdict
from xattr_check.history.compare import Change
from xattr_check.history.confirmation import Confirmation
from xattr_check.history.rules import Rule
from xattr_check.history.saved import SavedRun
from xattr_check.report import standing
from xattr_check.report.comparison import confirmation_sentences, confirmed_by
from xattr_check.report.drawing import inline
from xattr_check.report.looks import LOOKS, name_rows
from xattr_check.report.rows import ReportedRun, Row, checks_of, rows_of
from xattr_check.report.table import summary

__all__ = ["ReportedRun", "render", "trends"]

# Of pictures in one file, in bytes; those that need attention come first, and what is left out is told.
PICTURES = 6 * 2**20


def render(
    sources: Sequence[ReportedRun],
    history: Sequence[SavedRun] = (),
    *,
    compared: str = "",
    changes: Sequence[Change] = (),
    broken: Sequence[tuple[Rule, Change]] = (),
    idle: Sequence[Rule] = (),
    confirmation: Confirmation | None = None,
) -> str:
    """The report as HTML.

    history: saved runs, the oldest first, for trends and for reference methods beside those that are shown.
    compared: the run that changes are against. broken: rules of the comparison, with what broke them.
    idle: rules that nothing could be held to. confirmation: what another seed says of the rules broken.
    """
    dropped, said = [] if confirmation is None else confirmation.dropped, confirmed_by(confirmation)
    told = [(f"{rule.text}{said(rule, one)}", one) for rule, one in (*broken, *dropped)]
    stays = {id(change) for _, change in broken}
    rows = rows_of(sources)
    pictures = dict(_pictures(rows))
    checks = list(checks_of(rows, history))
    subjects = list(dict.fromkeys(row.verdict.subject for row in rows))
    anchors = {
        (row.verdict.subject, row.verdict.check): check.anchor for check in checks for row in check.rows
    }
    worse = {anchors[change.after.subject, change.after.check] for _, change in broken}
    cells = {(row.label, row.verdict.check): row for row in rows}
    return template("report.html").render(
        subjects=subjects,
        sources=sources,
        ranked=[one for subject in subjects for one in _ranked(rows, subject)],
        families=[
            (family, list(members)) for family, members in groupby(checks, key=lambda check: check.family)
        ],
        cells=cells,
        attention=[row for row in rows if row.attention],
        units=sorted({(row.label, row.unit) for row in rows if row.unit}),
        summary=summary,
        pictures=pictures,
        missing_pictures=sum(row.verdict.key in row.source.pictures for row in rows) - len(pictures),
        compared=compared,
        idle=idle,
        worse=[check for check in checks if check.anchor in worse],
        anchors=anchors,
        name=name_rows(row.verdict for row in rows),
        changes=[
            (change, [text for text, one in told if one is change], id(change) in stays) for change in changes
        ],
        confirmation=list(confirmation_sentences(confirmation)),
        looks=LOOKS,
    )


def _ranked(rows: Sequence[Row], subject: str) -> list[standing.Standing]:
    """The standings of all that has rows on a subject, the best first."""
    own: dict[str, list[Verdict]] = {}
    for row in rows:
        if row.verdict.subject == subject:
            own.setdefault(row.label, []).append(row.verdict)
    found = [standing.Standing.of(label, verdicts) for label, verdicts in own.items()]
    return sorted(found, key=lambda one: one.place)


def trends(history: Sequence[SavedRun], wanted: Mapping[str, str] | None = None) -> str:
    """Figures over saved runs, the oldest first, as HTML; wanted: as of `SavedRun.verdicts_of`."""
    latest: dict[tuple[Any, ...], Row] = {}
    for run in history:
        source = ReportedRun.of(run)
        for verdict in run.verdicts_of(wanted or {}):
            key = (verdict.key, verdict.fingerprint, run.run.get("seed"))
            latest[key] = Row(verdict.method, verdict, source)
    # Each subject and seed has charts of its own.
    groups: dict[tuple[str, Any], list[Row]] = {}
    for row in latest.values():
        groups.setdefault((row.verdict.fingerprint, row.source.run.get("seed")), []).append(row)
    found = [
        one
        for rows in groups.values()
        for one in checks_of(rows, history)
        if one.trends and one.family != "contract"
    ]
    return template("trends.html").render(runs=history, checks=found, summary=summary)


def template(name: str) -> jinja2.Template:
    """A page to fill in; all of them begin with the same head."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("xattr_check.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def _pictures(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Pictures by the anchor of their verdict, as data of the page, until there is no more room."""
    left = PICTURES
    for row in sorted(rows, key=lambda row: not row.attention):
        path = row.source.pictures.get(row.verdict.key)
        if path is None or left <= 0:
            continue
        try:
            with Image.open(path) as picture:
                found = inline(picture)
        except OSError:  # it was taken away, or is none
            continue
        left -= len(found)
        yield row.anchor, found
