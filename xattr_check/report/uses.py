"""The page of what networks use, as one HTML file that needs nothing else."""

import re
from collections.abc import Sequence

from xattr_check.report.charts import MOST_LINES, Dot, beside
from xattr_check.report.page import template
from xattr_check.statistics.paired import Figure
from xattr_check.uses.model import ModelReport, Use

RATIOS = (
    "S₁/S_T: how much of what a region makes it makes by itself, over the fifth of the regions with the "
    "largest S_T. `above 1` are errors of estimates, since gains are independent: `noise` is how many there "
    "would be if all regions had one ratio, `beyond` how many have their whole interval above 1, about 2.5 % "
    "by chance."
)
PAIRS = "S_T: share of the variance; S₁₂: what both make together alone; Δ: the second S_T less the first."
# Where both lie, whatever the errors of estimates.
SHARE = (0.0, 1.0)
MEANING = "± is half of an interval at 95 % over inputs."


def render(found: ModelReport) -> str:
    """The page as HTML."""
    first = found.networks[0]
    chart = ""
    if first.ratios:
        shown = first.ratios[:MOST_LINES]
        kinds = {
            f"{one.regions}, {one.count} regions": _dots(
                found.networks, [use.ratios[place].top for use in found.networks]
            )
            for place, one in enumerate(shown)
        }
        chart = beside(
            kinds, "S₁/S_T over the fifth of the regions with the largest S_T", found.subject, SHARE
        )
    charts = [
        beside(
            {
                name: _dots(found.networks, [use.pairs[place].total[side] for use in found.networks])
                for side, name in enumerate(one.names)
            },
            "S_T, the share of the output's variance",
            f"{found.subject} {one.regions}",
            SHARE,
        )
        for place, one in enumerate(first.pairs)
    ]
    return template("uses.html").render(
        found=found,
        first=first,
        chart=chart,
        charts=charts,
        told=told,
        percent=percent,
        ratios=re.sub("`(.+?)`", r"“\1”", RATIOS),
        pairs=PAIRS,
        meaning=MEANING,
    )


def told(figure: Figure) -> str:
    """A figure and half of its interval: `0.62 ± 0.05`, alone of one input; a dash where there is none."""
    found = figure.interval
    if not figure.count:
        return "–"
    around = f" ± {(found.high - found.low) / 2:.2f}" if figure.count > 1 else ""
    return f"{found.value:.2f}{around}"


def percent(figure: Figure) -> str:
    """A share: `42 %`; a dash where there is none."""
    return f"{100 * figure.interval.value:.0f} %" if figure.count else "–"


def _dots(networks: Sequence[Use], figures: Sequence[Figure]) -> list[Dot]:
    """A row for each network, without a dot where nothing was found."""
    return [
        Dot(use.name, figure.interval.value, figure.interval.low, figure.interval.high)
        for use, figure in zip(networks, figures, strict=True)
    ]
