"""Pictures of what is no image, read back pixel by pixel."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xattr_check.core.verdict import Verdict
from xattr_check.report import features
from xattr_check.report.drawing import BLUE, RED
from xattr_check.report.pictures import picture_of

SHAPES = {"signal": (2, 10), "columns": (6,), "tokens": (5, 3), "embeddings": (5, 3), "volume": (2, 4, 6, 6)}
SPATIAL = {"signal": (10,), "columns": (6,), "tokens": (5,), "embeddings": (5,), "volume": (4, 6, 6)}


def evidence(kind: str, scores: Tensor | None = None) -> dict[str, Tensor]:
    """Two inputs of a kind, and scores: by default the first is for the target, the second against it."""
    found = torch.zeros(2, *SPATIAL[kind]) if scores is None else scores
    if scores is None:
        found.flatten(1)[:, 0], found.flatten(1)[:, 1] = 2.0, -2.0
    values = torch.randn(2, *SHAPES[kind], generator=torch.Generator().manual_seed(0))
    rows = {"row": torch.tensor([0.5, 0.25]), "index": torch.tensor([7, 3]), "target_a": torch.tensor([1, 0])}
    return {kind: values, "map_a": found, **rows}


def drawn(kind: str, shown: dict[str, Tensor], names: Any = ()) -> np.ndarray:
    verdict = Verdict(
        "mymod:explain", "mine", "deletion", "faithfulness", "fail", "so", "≤ 1", evidence=shown, names=names
    )
    picture = picture_of(verdict)
    assert picture is not None
    return np.asarray(picture)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((picture == colour).all(-1).mean())


@pytest.mark.parametrize("kind", features.KINDS)
def test_what_is_for_the_target_is_red_and_what_is_against_it_blue(kind: str) -> None:
    picture = drawn(kind, evidence(kind))
    assert share(picture, RED) > 0.001
    assert share(picture, BLUE) > 0.001
    nothing = drawn(kind, evidence(kind, torch.zeros(2, *SPATIAL[kind])))
    # What the legend has stays.
    assert share(nothing, RED) < share(picture, RED) / 2


@pytest.mark.parametrize("kind", features.KINDS)
def test_scores_that_are_not_finite_are_drawn(kind: str) -> None:
    scores = torch.zeros(2, *SPATIAL[kind])
    scores.flatten(1)[:, 0], scores.flatten(1)[:, 1] = float("nan"), float("inf")
    assert drawn(kind, evidence(kind, scores)).size


def test_words_are_named_and_padding_is_not_drawn() -> None:
    shown = evidence("tokens", torch.full((2, 5), 1.0))
    words = drawn("tokens", shown, [["a", "b", "c", "d", "e"]] * 2)
    padded = drawn("tokens", shown, [["a", "b", "", "", ""]] * 2)
    assert share(padded, RED) < share(words, RED)


def test_columns_that_are_left_out_have_the_smallest_scores() -> None:
    scores = torch.arange(40.0).repeat(2, 1)
    shown = {**evidence("columns"), "columns": torch.zeros(2, 40), "map_a": scores}
    few = {**shown, "columns": torch.zeros(2, features.COLUMNS), "map_a": scores[:, -features.COLUMNS :]}
    names = [f"column {number}" for number in range(40)]
    many = features.row(shown, "columns", 0, names)
    least = features.row(few, "columns", 0, names[-features.COLUMNS :])
    assert many.size == least.size


def test_one_time_of_a_long_signal_is_seen() -> None:
    scores = torch.zeros(2, 2000)
    scores[:, 1234] = 1
    long = {**evidence("signal"), "signal": torch.zeros(2, 1, 2000), "map_a": scores}
    picture = np.asarray(features.row(long, "signal", 0, ()))
    assert picture.shape[1] <= features.WIDTH
    assert share(picture, RED) > 0
