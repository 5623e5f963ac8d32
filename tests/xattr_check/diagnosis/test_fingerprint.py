"""Fingerprints: what maps are like, and which say the same."""

from dataclasses import replace

import pytest
import subjects
import torch

from xattr_check import load_method
from xattr_check.core.run import Run
from xattr_check.diagnosis.fingerprint import (
    Likeness,
    alike,
    drawn,
    from_means,
    known_scores,
    nearest,
    scores,
)
from xattr_check.mutation.mutants import mutant, operators
from xattr_methods import constant, edges, gradient, label_correlation, random

KNOWN = {"first": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "second": torch.tensor([[1.0, -1.0, 2.0, 8.0]])}
CONTROLS = {"flat": torch.ones(1, 4), "falling": torch.tensor([[9.0, 5.0, 2.0, 0.1]])}


def test_the_nearest_is_a_method_a_control_or_a_product() -> None:
    assert nearest(KNOWN["second"], KNOWN, CONTROLS) == [Likeness("second", pytest.approx(1))]
    assert nearest(10 * CONTROLS["falling"], KNOWN, CONTROLS) == [Likeness("falling", pytest.approx(1))]
    mixed = -CONTROLS["falling"] * KNOWN["second"]
    assert nearest(-mixed, KNOWN, CONTROLS, 2)[0] == Likeness("falling × second", pytest.approx(1))
    assert str(Likeness("edges × xattr:gradcam", 0.984)) == "0.98 edges × xattr:gradcam"


def test_what_is_scaled_says_the_same_and_what_has_lost_its_zero_does_not() -> None:
    first = KNOWN["second"]
    assert alike(first, 3 * first) == pytest.approx(1)
    assert alike(first, first + 2) == pytest.approx(11 / 12)  # by its evidence of another sign
    assert alike(first, -first) == pytest.approx(-1)


def test_edges_times_a_method_are_told_by_name(run: Run) -> None:
    subject = subjects.images()
    draw = drawn(subject, run)
    broken = mutant(operators()["edges_by_product"], gradient)
    known = known_scores({"gradient": gradient}, draw)
    controls = known_scores({one.name: one for one in (edges, random, constant, label_correlation)}, draw)
    assert set(controls) == {"edges", "random", "constant"}  # the other one needs columns
    # Of a sensitivity the magnitude counts, which a factor for all channels goes through.
    found = nearest(scores(broken, draw), known, controls)
    assert found == [Likeness("edges × gradient", pytest.approx(1))]


def test_what_starts_from_the_mean_is_told_where_that_is_elsewhere() -> None:
    near = subjects.columns()
    far = replace(near, inputs=near.inputs + 9)
    known = {one.name: one for one in map(load_method, ("xattr:integrated_gradients", "xattr:gradient"))}
    assert list(from_means(known, near)) == list(known)
    found = from_means(known, far)
    assert list(found) == [*known, "xattr:integrated_gradients?baseline=mean"]
    assert list(from_means(found, far)) == list(found)
