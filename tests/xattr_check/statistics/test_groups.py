"""What groups decide, against the design of all parameters, on functions whose indices are known."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from closed_forms import SCALES, ishigami, ishigami_indices, sobol_g, sobol_g_indices
from torch import Tensor

from xattr_check.statistics.groups import Decision, Question, decide_by_groups
from xattr_check.statistics.sobol import saltelli, saltelli_ends, sobol_indices

Function = Callable[[Tensor], Tensor]
PARAMETERS, SAMPLES = 64, 64


def padded(function: Function, count: int) -> Function:
    """Of 64 numbers, so many that are scattered among inert ones."""
    places = torch.randperm(PARAMETERS, generator=torch.Generator().manual_seed(1))[:count]
    return lambda points: function(points[:, places])


def additive(points: Tensor) -> Tensor:
    return points @ torch.tensor([5.0, -4, 3, -2, 1], dtype=torch.float64)


def of_all(function: Function, seed: int, parameters: int = PARAMETERS, samples: int = SAMPLES) -> Tensor:
    """(parameters,) total indices by winding stairs, one column after the other."""
    rows, second = saltelli_ends(parameters, samples, seed)
    variance = torch.cat([function(rows), function(second)]).var(correction=0)
    found = []
    for column in range(parameters):
        before = function(rows)
        rows = rows.clone()
        rows[:, column] = second[:, column]
        found.append((function(rows) - before).square().mean() / 2 / variance)
    return torch.stack(found)


def decided(function: Function, spec: str, seed: int = 0) -> Decision:
    return decide_by_groups(function, PARAMETERS, SAMPLES, seed, spec)


# How many count, how many are asked for, and what groups take at most of the outputs of the design of all.
CASES = [(additive, 5, 5, 0.4), (additive, 5, 2, 0.3), (ishigami, 3, 3, 0.3), (sobol_g, 6, 2, 0.25)]


@pytest.mark.parametrize(("function", "count", "top", "share"), CASES)
def test_the_answer_is_that_of_all_parameters_in_fewer_outputs(
    function: Function, count: int, top: int, share: float
) -> None:
    for seed in range(5):
        whole = of_all(padded(function, count), seed)
        found = decided(padded(function, count), f"top:{top}", seed)
        assert set(found.chosen.nonzero()[:, 0].tolist()) == set(whole.topk(top).indices.tolist())
        # The very rows, so that indices are the same but for rounding.
        torch.testing.assert_close(found.spread[found.chosen], whole[found.chosen])
        assert found.all_outputs == SAMPLES * (PARAMETERS + 2)
        assert found.outputs <= share * found.all_outputs


def test_those_above_a_share_are_told() -> None:
    whole = of_all(padded(additive, 5), 0)
    for share in (0.0, 0.1, 0.3):
        found = decided(padded(additive, 5), f"above:{share}")
        assert torch.equal(found.chosen, whole > share)
    assert not decided(padded(additive, 5), "above:0.9").chosen.any()


def test_those_of_an_additive_function_are_those_of_saltellis_design_too() -> None:
    """What a column does to it is the same, whichever others have moved."""
    found = decided(padded(additive, 5), "top:5")
    whole = sobol_indices(padded(additive, 5)(saltelli(PARAMETERS, SAMPLES, 0))[None], PARAMETERS).total[0]
    torch.testing.assert_close(found.spread[found.chosen], whole[found.chosen])


def test_all_of_them_are_as_precise_as_those_of_saltellis_design() -> None:
    known, seeds = sobol_g_indices().total, range(60)
    ours = torch.stack([decide_by_groups(sobol_g, 6, 256, seed, "above:0").spread for seed in seeds])
    theirs = torch.stack([sobol_indices(sobol_g(saltelli(6, 256, seed))[None], 6).total[0] for seed in seeds])
    errors = [(one - known).square().mean().sqrt() for one in (ours, theirs)]
    assert errors[0] < 1.1 * errors[1]


def test_outputs_are_counted_and_none_is_asked_for_twice() -> None:
    asked = list[Tensor]()

    def counted(points: Tensor) -> Tensor:
        asked.append(points)
        return additive(points[:, :5])

    assert decided(counted, "top:3").outputs == len(torch.cat(asked)) == len(torch.cat(asked).unique(dim=0))


def test_groups_have_the_known_indices() -> None:
    """Of a product, S_T of a group is 1 − (∏ (1 + Vᵢ) of the others − 1) / V: at least that of any member."""
    found = decide_by_groups(sobol_g, 6, 2**13, 0, "above:0.99")
    assert found.group.tolist() == [0, 1, 1, 2, 2, 2]
    alone = 1 / (3 * (1 + SCALES) ** 2)
    variance = (1 + alone).prod() - 1
    for group, total in enumerate(found.total):
        inside = found.group == group
        known = 1 - ((1 + alone[~inside]).prod() - 1) / variance
        assert abs(float(total - known)) < 5e-3
        assert float(known) >= float(sobol_g_indices().total[inside].max()) - 1e-12


def test_intervals_hold_the_known_indices() -> None:
    known = ishigami_indices().total
    held = []
    for seed in range(40):
        found = decide_by_groups(ishigami, 3, 256, seed, "top:3")
        held.append((found.total[found.group] - known).abs() <= found.half_width[found.group])
    assert torch.stack(held).double().mean() > 0.9


def test_signs_that_cancel_in_a_group_do_not_hide_it() -> None:
    """A mean effect of both together is 0, and so is what a gain that they share does."""

    def opposed(points: Tensor) -> Tensor:
        return points[:, 8] - points[:, 9] + 0.1 * points[:, 50]

    together = torch.full((2, PARAMETERS), 0.5, dtype=torch.float64)
    together[1, 8:10] = 1
    assert opposed(together).diff().abs() < 1e-12
    found = decided(opposed, "top:2")
    assert found.chosen.nonzero()[:, 0].tolist() == [8, 9]
    assert found.clear


def test_what_acts_together_alone_is_found() -> None:
    """(x − ½)(y − ½) has first-order indices of 0, of either and of its group with others."""
    found = decided(lambda points: (points[:, 8] - 0.5) * (points[:, 40] - 0.5), "top:2")
    assert found.chosen.nonzero()[:, 0].tolist() == [8, 40]


@pytest.mark.parametrize("parameters", [2, 3, 7, 64])
@pytest.mark.parametrize("spec", ["top:1", "top:2", "above:0"])
def test_where_all_are_alike_no_more_outputs_are_taken_and_it_is_said(parameters: int, spec: str) -> None:
    found = decide_by_groups(lambda points: points.sum(1), parameters, SAMPLES, 0, spec)
    assert found.outputs <= SAMPLES * (parameters + 1) < found.all_outputs
    if spec == "top:1":
        assert not found.clear
    if parameters == PARAMETERS:  # every parameter is by itself in the end
        assert len(found.total) == PARAMETERS


def test_an_output_that_never_changes_has_no_clear_answer() -> None:
    found = decided(lambda points: torch.ones(len(points)), "top:3")
    assert not found.clear
    assert not found.total.any()


def test_an_order_says_which_are_neighbours() -> None:
    order = torch.randperm(PARAMETERS, generator=torch.Generator().manual_seed(0))

    def block(points: Tensor) -> Tensor:
        return points[:, order[:4]].sum(1)

    near = decide_by_groups(block, PARAMETERS, SAMPLES, 0, "top:4", order)
    assert torch.equal(near.chosen, decided(block, "top:4").chosen)
    assert near.outputs < decided(block, "top:4").outputs


def test_those_are_sure_that_no_other_reaches() -> None:
    """Of three to be found, two are alone at the top, and the third has its like."""

    def function(points: Tensor) -> Tensor:
        return points[:, :4] @ torch.tensor([3.0, 3.0, 1.0, 1.0], dtype=torch.float64)

    found = decided(function, "top:3")
    assert found.sure.nonzero()[:, 0].tolist() == [0, 1]
    assert int(found.chosen.sum()) == 3
    assert not found.clear
    assert decided(function, "top:4").clear


def test_a_single_parameter_is_the_answer() -> None:
    found = decide_by_groups(lambda points: points[:, 0], 1, 8, 0, "top:1")
    assert found.chosen.tolist() == [True]
    assert found.clear


@pytest.mark.parametrize("spec", ["top:0", "top:9", "top", "best:3", "above:1", "above:x", "above:-1", ""])
def test_other_questions_are_refused(spec: str) -> None:
    message = (
        "expected decide 'top:K' with K of 1 to 8, or 'above:SHARE' with a share from 0 and below 1, came "
        f"{spec!r}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Question.of(spec, 8)
    assert math.isinf(Question.of("top:3", 8).bound(torch.zeros(2)))
