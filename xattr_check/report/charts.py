"""Charts of the report, as SVG that takes its colours and its type from the page around it."""

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from xattr_check.core.figure import Figure
from xattr_check.core.verdict import Verdict
from xattr_check.imports import neutral_warnings
from xattr_check.report.looks import LOOKS, Tone

with neutral_warnings():
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

# Stand-ins that the page's style replaces, so that a chart is legible on light and on dark.
COLOURS = {
    "#010101": "currentColor",
    "#020202": "var(--faint)",
    "#030303": "var(--gate)",
    "#040404": "var(--pass)",
    "#050505": "var(--fail)",
    "#060606": "var(--unclear)",
    "#070707": "var(--none)",
}
INK, FAINT, GATE, PASS, FAIL, UNCLEAR, NONE = COLOURS
BY_TONE: dict[Tone, str] = {"pass": PASS, "fail": FAIL, "unclear": UNCLEAR, "none": NONE}
# Of the methods, on charts where many have lines: Okabe and Ito's, legible for most eyes on both grounds.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Of controls, which share a colour.
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (1, 4)), (0, (6, 1, 1, 1)))
# More lines than colours cannot be told apart; more dots than this are a smear.
MOST_LINES, MOST_DOTS = len(PALETTE), 512
# What matplotlib writes for a file of its own: metadata, a style for all elements, names of groups, fonts.
NOISE = tuple(
    re.compile(pattern, re.S)
    for pattern in (
        r"<metadata>.*?</metadata>",
        r'<style type="text/css">.*?</style>',
        r'(?<=<g) id="[^"]*"',
        r"font-family: [^;\"]*;? ?",
        r"(?<=>)\s+(?=<)",
    )
)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.unicode_minus": False,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Dot:
    """One row of a strip: a figure, the ends of its interval, what it is and what it is of.

    rows: what was measured on each unit, where the figure is their mean.
    """

    name: str
    value: float
    low: float
    high: float
    colour: str = FAINT
    rows: Sequence[float] = field(default=(), repr=False)


def dots(verdict: Verdict, name: str) -> Dot | None:
    """The row of a verdict; None where nothing was measured."""
    if verdict.interval is None or not math.isfinite(verdict.interval.value):
        return None
    rows = [row for draw in verdict.draws.values() if draw.rows.ndim == 1 for row in draw.rows.tolist()]
    rows = [row for row in rows if math.isfinite(row)]
    # A figure that is no mean of its rows lies on another axis.
    same = bool(rows) and math.isclose(
        sum(rows) / len(rows), verdict.interval.value, rel_tol=1e-4, abs_tol=1e-9
    )
    return Dot(
        name,
        verdict.interval.value,
        verdict.interval.low,
        verdict.interval.high,
        BY_TONE[LOOKS[verdict.status].tone],
        rows if same and len(rows) > 1 else (),
    )


def strip(own: Sequence[Dot], others: Sequence[Dot], bound: float | None, label: str, salt: str) -> str:
    """Figures with their intervals on one axis, those of others below and fainter, and the gate as a line.

    bound: where the gate is, if it is a number.
    """
    every = [*own, *others]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas, (axes,) = _canvas(1, 6.4, 0.55 + 0.2 * len(every))
        places = range(len(every))[::-1]
        if len(own) == 1 and own[0].rows:
            shown, above = own[0].rows[:MOST_DOTS], [places[0] + 0.28] * len(own[0].rows[:MOST_DOTS])
            axes.plot(shown, above, "|", color=own[0].colour, markersize=5, alpha=0.35)
        low, high = (
            [end if math.isfinite(end) else dot.value for dot, end in zip(every, ends, strict=True)]
            for ends in ([dot.low for dot in every], [dot.high for dot in every])
        )
        axes.hlines(places, low, high, colors=[dot.colour for dot in every], linewidth=2)
        for dots_of, marker, first in ((own, "o", 0), (others, "D", len(own))):
            at = places[first : first + len(dots_of)]
            colours = [dot.colour for dot in dots_of]
            axes.scatter([dot.value for dot in dots_of], at, c=colours, s=26, marker=marker, zorder=3)
        if bound is not None:
            axes.axvline(bound, color=GATE, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.set_yticks(places, [_cut(dot.name) for dot in every])
        axes.set_ylim(-0.6, len(every) - 0.4)
        axes.set_xlabel(textwrap.fill(label, 64))
        axes.tick_params(axis="y", length=0)
        return _svg(canvas, f"{label}: " + ", ".join(f"{dot.name} {dot.value:.3g}" for dot in every))


def beside(series: Mapping[str, Sequence[Dot]], label: str, salt: str, within: tuple[float, float]) -> str:
    """Several figures of each row with their intervals on one axis, each kind in a colour of its own.

    series: the rows of each kind, the same names in the same order. At most MOST_LINES of them.
    within: where what is estimated lies. The axis goes no further beyond than half as far again on either
        side; an estimate that does is an arrow at the border with its number, an interval an arrow.
    """
    names = [dot.name for dot in next(iter(series.values()))]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas, (axes,) = _canvas(1, 6.4, 0.75 + (0.1 + 0.14 * len(series)) * len(names))
        places, border = range(len(names))[::-1], _border(series, within)
        step = 0.7 / len(series)
        for number, ((kind, own), colour) in enumerate(zip(series.items(), PALETTE, strict=False)):
            at = [place + step * ((len(series) - 1) / 2 - number) for place in places]
            axes.scatter([], [], c=colour, s=20, label=_cut(kind))
            for place, dot in zip(at, own, strict=True):
                _row(axes, dot, place, colour, border)
        for place in places[1:]:
            axes.axhline(place + 0.5, color=FAINT, linewidth=0.5, alpha=0.5)
        axes.set_yticks(places, [_cut(name) for name in names])
        axes.set_ylim(-0.5, len(names) - 0.5)
        axes.set_xlabel(textwrap.fill(label, 64))
        axes.tick_params(axis="y", length=0)
        canvas.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
        told = (f"{dot.name} {kind} {dot.value:.3g}" for kind, own in series.items() for dot in own)
        return _svg(canvas, f"{label}: {', '.join(told)}")


def _border(series: Mapping[str, Sequence[Dot]], within: tuple[float, float]) -> tuple[float, float]:
    """As far as the intervals go, and what is estimated may; no further than half as far again beyond it."""
    beyond = (within[1] - within[0]) / 2
    found = [end for own in series.values() for dot in own for end in _ends(dot) if math.isfinite(end)]
    return max(min(found, default=0.0), within[0] - beyond), min(max(found, default=1.0), within[1] + beyond)


def _ends(dot: Dot) -> tuple[float, float]:
    """The ends of an interval, the value where it has none."""
    known = math.isfinite(dot.high - dot.low)
    return (dot.low, dot.high) if known else (dot.value, dot.value)


def _row(axes: Axes, dot: Dot, place: float, colour: str, border: tuple[float, float]) -> None:
    """A dot and its interval; what lies beyond the border is an arrow there."""
    if not math.isfinite(dot.value):
        return
    left, right = border
    low, high = (min(max(end, left), right) for end in _ends(dot))
    axes.hlines(place, low, high, colors=colour, linewidth=2)
    for is_beyond, at, arrow in ((_ends(dot)[0] < left, left, "<"), (_ends(dot)[1] > right, right, ">")):
        if is_beyond:
            axes.scatter(at, place, c=colour, s=20, marker=arrow, zorder=3, clip_on=False)
    if left <= dot.value <= right:
        axes.scatter(dot.value, place, c=colour, s=20, zorder=3)
        return
    side = "left" if dot.value < left else "right"
    axes.annotate(
        f"{dot.value:.3g}", (left if side == "left" else right, place), color=colour, fontsize=7,
        xytext=(6 if side == "left" else -6, 0), textcoords="offset points", ha=side, va="bottom",
    )  # fmt: skip


def curves(figures: Mapping[str, Figure], salt: str) -> str:
    """The lines of methods, a panel for each kind of line, with the intervals of means, and the controls'.

    The first MOST_LINES methods; the caller tells which are left out.
    """
    first = next(iter(figures.values()))
    names = list(first.lines)
    shown = dict(list(figures.items())[:MOST_LINES])
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        columns = min(2, len(names))
        canvas, panels = _canvas(len(names), 3.3 * columns + 1.6, 2.4 * math.ceil(len(names) / columns))
        for axes, name in zip(panels, names, strict=False):
            is_named = isinstance(first.x[0], str)
            places = range(len(first.x)) if is_named else [float(one) for one in first.x]
            for (control, points), dashes in zip(first.controls.items(), cycle(DASHES), strict=False):
                if name in points:
                    axes.plot(places, points[name], color=FAINT, linewidth=1, linestyle=dashes, label=control)
            for (method, figure), colour in zip(shown.items(), PALETTE, strict=False):
                line = figure.lines.get(name)
                if line is None or len(line.mean) != len(places):
                    continue
                axes.fill_between(places, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
                axes.plot(places, line.mean, color=colour, linewidth=1.8, label=_cut(method), marker=".")
            if is_named:
                axes.set_xticks(
                    places, [_cut(str(one), 14) for one in first.x], rotation=35, ha="right", fontsize=7
                )
            elif all(place == round(place) for place in places):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel(first.across)
            axes.set_ylabel(textwrap.fill(first.up, 24))
            if name:
                axes.set_title(name, fontsize=9)
        handles, told = panels[0].get_legend_handles_labels()
        canvas.legend(handles, told, loc="outside right upper", frameon=False, fontsize=7)
        return _svg(canvas, f"{first.up} by {first.across} of {', '.join(shown)}")


@dataclass(frozen=True)
class Point:
    """A figure in a trend. run: what tells the run from others, and puts it in order. when: its label."""

    run: str
    when: str
    dot: Dot


def trend(values: Mapping[str, Sequence[Point]], bound: float | None, label: str, salt: str) -> str:
    """Figures over saved runs, by method, the oldest first."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        canvas, (axes,) = _canvas(1, 6.4, 1.9)
        runs = dict(sorted({point.run: point.when for own in values.values() for point in own}.items()))
        places = {run: place for place, run in enumerate(runs)}
        for (method, own), colour in zip(values.items(), PALETTE, strict=False):
            at, found = [places[point.run] for point in own], [point.dot for point in own]
            axes.plot(at, [dot.value for dot in found], color=colour, linewidth=1.2, label=_cut(method))
            axes.scatter(at, [dot.value for dot in found], c=[dot.colour for dot in found], s=26, zorder=3)
        if bound is not None:
            axes.axhline(bound, color=GATE, linewidth=1.2, linestyle=(0, (4, 2)))
        names = [_cut(when, 18) for when in runs.values()]
        axes.set_xticks(range(len(runs)), names, rotation=30, ha="right", fontsize=7)
        axes.set_ylabel(_cut(label, 28))
        if len(values) > 1:
            axes.legend(frameon=False, fontsize=7)
        return _svg(canvas, f"{label} over {len(runs)} runs")


def _canvas(panels: int, width: float, height: float) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    columns = min(2, panels)
    grid: Any = canvas.subplots(math.ceil(panels / columns), columns, squeeze=False)
    found = list(grid.flat)
    for axes in found[panels:]:
        axes.set_visible(False)
    return canvas, found[:panels]


def _svg(canvas: Canvas, told: str) -> str:
    """The chart as an element of a page, without a size in points, told to those who cannot see it."""
    buffer = io.StringIO()
    # Without metadata, so that the same run gives the same file.
    canvas.savefig(
        buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for noise in NOISE:
        text = noise.sub("", text)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    label = told.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    width = canvas.get_size_inches()[0]
    head = f'<svg role="img" aria-label="{label}" style="width: {width:.1f}in" '
    return re.sub(r' (?:width|height)="[0-9.]+pt"', "", text, count=2).replace("<svg ", head, 1)


def _cut(name: str, length: int = 34) -> str:
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-length // 2 :]}"
