"""Expected failures: what is recorded of one, and when another is worse."""

import math
from dataclasses import replace

import pytest

from xattr_check import AtLeast, AtMost
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.verdict import Verdict, of_gate
from xattr_check.statistics.gate import Gate
from xattr_check.statistics.intervals import Interval

LOW = AtMost(0.1)


def verdict(low: float, high: float, gate: Gate = LOW, **fields: object) -> Verdict:
    found = Verdict(
        "mymod:explain", "digits", "deletion", "faithfulness", "fail", "of it\n(gate)", continues=True,
        interval=Interval((low + high) / 2, low, high), **of_gate(gate),
    )  # fmt: skip
    return replace(found, **fields)  # type: ignore[arg-type]


def test_the_sentence_and_the_interval_are_recorded() -> None:
    found = ExpectedFailure.of(verdict(0.30001, 0.51234), "2026-11-29")
    assert found == ExpectedFailure("", "0.406 [0.300, 0.512] of it (gate)", (0.3, 0.5123), "2026-11-29")
    assert ExpectedFailure.from_record(found.record()) == found
    assert ExpectedFailure("why").record() == {"reason": "why"}


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "contract"},
        {"status": "error"},
        {"interval": None},
        {"interval": Interval(1.0, 0.5, math.inf)},
    ],
)
def test_what_has_no_figure_is_accepted_by_its_check_alone(fields: dict[str, object]) -> None:
    found = ExpectedFailure.of(verdict(0.3, 0.5, **fields), "2026-11-29")
    assert found.interval is None
    assert found.worse(verdict(8, 9)) == found.worse(verdict(8, 9, status="error")) == ""


@pytest.mark.parametrize(
    ("gate", "recorded", "now", "worse"),
    [
        (LOW, (0.3, 0.5), (0.51, 0.7), False),  # by less than another seed may make of it
        (LOW, (0.3, 0.5), (0.53, 0.7), True),
        (LOW, (0.3, 0.5), (0.4, 9.0), False),  # from few inputs: it may be what it was
        (LOW, (0.3, 0.5), (0.1, 0.2), False),  # better
        (AtMost(-1.0), (-0.5, -0.4), (-0.37, -0.3), True),
        (AtLeast(0.9), (0.3, 0.5), (0.1, 0.29), False),
        (AtLeast(0.9), (0.3, 0.5), (0.1, 0.28), True),
        (AtLeast(0.9), (0.3, 0.5), (0.6, 0.7), False),
        (AtLeast(0.9), (-0.2, 0.0), (-0.4, -0.25), True),
    ],
)
def test_worse_is_beyond_the_bad_end(
    gate: Gate, recorded: tuple[float, float], now: tuple[float, float], worse: bool
) -> None:
    expected = ExpectedFailure("why", interval=recorded)
    told = expected.worse(verdict(*now, gate=gate))
    assert told == (f"worse than the [{recorded[0]:g}, {recorded[1]:g}] that was accepted" if worse else "")


def test_where_there_was_a_figure_none_at_all_is_worse() -> None:
    expected = ExpectedFailure("why", interval=(0.3, 0.5))
    told = expected.worse(verdict(0.3, 0.5, status="error", interval=None))
    assert told == "[0.3, 0.5] was accepted, and now there is no figure"


def test_another_failure_keeps_the_reason() -> None:
    found = ExpectedFailure("why", "old", (0.3, 0.5), "2026-01-01").renewed(verdict(0.7, 0.9), "2026-11-29")
    assert (found.reason, found.interval, found.accepted) == ("why", (0.7, 0.9), "2026-11-29")
