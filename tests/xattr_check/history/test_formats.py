"""Records of earlier versions, as the present one has them."""

from typing import Any

import pytest

from xattr_check.core.verdict import Verdict
from xattr_check.history.formats import current

OLD: dict[str, Any] = {
    "method": "m",
    "subject": "digits",
    "check": "iou",
    "family": "localisation",
    "status": "undecided",
    "statistic": 0.41,
    "interval": [0.369, 0.45],
    "gate": "≥ 0.4",
    "sentence": "iou: 0.410 [0.369, 0.450] overlap (gate ≥ 0.4); not clear after 128 inputs",
    "controls": {},
    "better": "higher",
    "scale": 0.4,
}


def test_what_stood_in_words_becomes_a_field() -> None:
    found = Verdict.from_record(current(OLD, 3))
    assert (found.bound, found.beats, found.ungated, found.continues) == (0.4, False, False, True)
    assert found.sentence == "overlap (gate ≥ 0.4); not clear after 128 inputs"
    assert str(found) == OLD["sentence"]


@pytest.mark.parametrize(
    ("gate", "bound", "beats"),
    [("≤ -0.25", -0.25, False), ("0.05 below every control", None, True), ("none", None, False)],
)
def test_gates_of_every_kind(gate: str, bound: float | None, beats: bool) -> None:
    found = current({**OLD, "gate": gate}, 3)
    assert (found["bound"], found["beats"]) == (bound, beats)


def test_a_sentence_that_stands_alone_stays_whole() -> None:
    error = {**OLD, "statistic": None, "interval": None, "sentence": "iou: 3 maps are not finite"}
    found = Verdict.from_record(current(error, 2))
    assert (found.sentence, found.continues) == ("3 maps are not finite", False)


def test_a_record_of_this_version_is_left_as_it_is() -> None:
    record = Verdict("m", "digits", "iou", "localisation", "pass", "overlap", "≥ 0.4", bound=0.4).record()
    assert current(record, 4) is record
