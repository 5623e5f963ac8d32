"""Selection by names and families."""

from dataclasses import replace

import pytest

from xattr_check import AtMost, Axiom, UsageError
from xattr_check.axiom import Measurement
from xattr_check.select import select


def declared(name: str, family: str) -> Axiom:
    def measure(*_: object) -> Measurement:
        raise NotImplementedError

    return Axiom(name, "It holds.", family, AtMost(0), measure)


ONE, TWO = declared("shape", "contract"), declared("finite", "contract")
THREE, FOUR = declared("deletion", "faithfulness"), replace(declared("roar", "retraining"), cost="full")
CHECKS = {check.name: check for check in (ONE, TWO, THREE, FOUR)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (None, [ONE, TWO, THREE, FOUR]),
        ("", [ONE, TWO, THREE, FOUR]),
        ("contract", [ONE, TWO]),
        ("contract and not shape", [TWO]),
        ("shape or deletion", [ONE, THREE]),
        ("shape, deletion", [ONE, THREE]),
        ("not (contract or retraining)", [THREE]),
        (" shape ", [ONE]),
    ],
)
def test_expression_selects_in_the_order_of_the_battery(
    expression: str | None, expected: list[Axiom]
) -> None:
    assert select(expression, CHECKS, "full") == expected


def test_budget_leaves_out_what_costs_more() -> None:
    assert select(None, CHECKS, "standard") == [ONE, TWO, THREE]
    with pytest.raises(UsageError, match=r"too small for roar \(full\); pass a larger"):
        select("retraining", CHECKS, "standard")


@pytest.mark.parametrize("expression", ["shape finite", "shape +", "shape + finite", "1", "shape == finite"])
def test_what_is_no_expression_is_told(expression: str) -> None:
    with pytest.raises(UsageError, match="expected names and families joined by and, or, not"):
        select(expression, CHECKS, "full")


def test_unknown_name_is_told_even_where_it_does_not_decide() -> None:
    with pytest.raises(UsageError, match="no check or family 'shap'; the nearest are shape"):
        select("shape or shap", CHECKS, "full")


def test_nothing_selected_is_told() -> None:
    with pytest.raises(UsageError, match="selects none of the 4 checks"):
        select("shape and finite", CHECKS, "full")
