"""Selection by names and families."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xattr_check import AtMost, Axiom, UsageError
from xattr_check.config.selection import select
from xattr_check.core.checks import Measurement
from xattr_check.core.ranges import Part, Percentage


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
        ("shape,\n  deletion,\n", [ONE, THREE]),
        ("(shape, roar)", [ONE, FOUR]),
        ("not not shape", [ONE]),
        ("not shape and contract", [TWO]),
        ("shape or finite and deletion", [ONE]),
        ("(shape or finite) and not (finite)", [ONE]),
        ("shape or not contract, finite", [ONE, TWO, THREE, FOUR]),
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


NO_EXPRESSIONS = [
    *("shape finite", "shape +", "shape + finite", "1", "1shape", "shape == finite", "shape-finite"),
    *("and", "shape and", "shape or or finite", "not", "shape not finite", "shape or, finite"),
    *(",", "shape,, finite", ", shape"),
    *("(", "()", "(shape", "shape)", "(shape))", "shape (finite)", "absent and and"),
]  # fmt: skip


def test_what_is_no_expression_is_told() -> None:
    for expression in NO_EXPRESSIONS:
        with pytest.raises(UsageError, match="expected names and families joined by and, or, not"):
            select(expression, CHECKS, "full")


def test_unknown_name_is_told_even_where_it_does_not_decide() -> None:
    with pytest.raises(UsageError, match="no check or family 'shap'; the nearest are shape"):
        select("shape or shap", CHECKS, "full")


def test_a_name_may_be_that_of_a_check_and_of_a_family() -> None:
    both = {**CHECKS, "contract": declared("contract", "faithfulness")}
    assert [check.name for check in select("contract", both, "full")] == ["shape", "finite", "contract"]


def test_what_the_expression_was_given_to_is_told() -> None:
    with pytest.raises(UsageError, match=r"^check 'shap': no check or family 'shap'; the nearest are shape"):
        select("shap", CHECKS, "full", option="check")


WORDS = sorted({word for check in CHECKS.values() for word in (check.name, check.family)})
EXPRESSIONS = st.recursive(
    st.sampled_from(WORDS),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" or ", " and "]), inner).map("".join),
        inner.map("not {}".format),
        inner.map("({})".format),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_operators_bind_as_in_python(expression: str) -> None:
    """Against Python, in which each check makes its own names true."""
    expected = [
        check
        for check in CHECKS.values()
        if eval(expression, {word: word in (check.name, check.family) for word in WORDS})
    ]
    if expected:
        assert select(expression, CHECKS, "full") == expected
    else:
        with pytest.raises(UsageError, match="selects none of the 4 checks"):
            select(expression, CHECKS, "full")


def test_nothing_selected_is_told() -> None:
    with pytest.raises(UsageError, match="selects none of the 4 checks"):
        select("shape and finite", CHECKS, "full")


def measure(
    method: object,
    subject: object,
    draw: object,
    *,
    fill: Literal["mean", "blur"] = "mean",
    steps: int = 16,
    share: float = 0.5,
    rate: Part = 0.5,
    sizes: tuple[Percentage, ...] = (10,),
) -> Measurement:
    raise NotImplementedError


WITH = {**CHECKS, "deletion": replace(THREE, measure=measure)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("deletion?fill=blur", ["deletion?fill=blur"]),
        ("deletion, deletion?fill=blur", ["deletion", "deletion?fill=blur"]),
        ("(deletion?steps=8&fill=blur) or shape", ["deletion?fill=blur&steps=8", "shape"]),
        ("faithfulness and not deletion, deletion?share=0.25", ["deletion?share=0.25"]),
        ("deletion?fill=blur&steps=8, deletion?steps=8&fill=blur", ["deletion?fill=blur&steps=8"]),
        ("deletion?steps=4, deletion?steps=8", ["deletion?steps=4", "deletion?steps=8"]),
    ],
)
def test_a_check_with_parameters_is_one_of_its_own(expression: str, expected: list[str]) -> None:
    assert [check.name for check in select(expression, WITH, "full")] == expected


def test_parameters_are_what_is_measured_with() -> None:
    (check,) = select("deletion?steps=8&fill=blur", WITH, "full")
    assert check.parameters == {"fill": "blur", "steps": 8}
    assert (check.family, check.gate) == (THREE.family, THREE.gate)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("deletio?fill=blur", "no check 'deletio'; the nearest are deletion"),
        ("shape?fill=blur", "'shape?fill=blur': no parameter 'fill', it has none"),
        ("deletion?fil=blur", "no parameter 'fil', it has fill, steps, share, rate, sizes"),
        ("deletion?fill=black", "expected fill= one of mean, blur, came 'black'"),
        ("deletion?steps=2.5", "expected steps to be a whole number above 0, came 2.5"),
        ("deletion?steps=0", "expected steps to be a whole number above 0, came 0"),
        ("deletion?share=all", "expected share to be a number above 0, came 'all'"),
        ("deletion?rate=1", "expected rate to be a number above 0 and below 1, came 1"),
        (
            "deletion?sizes=50+130",
            "expected sizes to be whole numbers from 1 to 100, joined by +, came '50+130'",
        ),
        ("deletion?sizes=50,20", "; values of a list are joined by +, deletion?sizes=50+20"),
        ("deletion?steps=8&sizes=50, 20, 5 or shape", "are joined by +, deletion?steps=8&sizes=50+20+5"),
        (
            "deletion?fill=mean,blur",
            "; each value takes a check of its own, deletion?fill=mean,deletion?fill=blur",
        ),
        ("deletion?fill", "expected parameters as ?name=value&name=value, came 'fill'"),
    ],
)
def test_wrong_parameters_are_told(expression: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(expression, WITH, "full")
    assert message in str(caught.value)
    assert str(caught.value).startswith("--xattr-checks=")


def test_a_comma_that_ends_a_check_gets_no_hint() -> None:
    with pytest.raises(UsageError) as caught:
        select("deletion?sizes=50, deletion?fill=blur, shap", WITH, "full")
    assert str(caught.value).endswith("no check or family 'shap'; the nearest are shape")
    assert [one.name for one in select("deletion?sizes=50,shape", WITH, "full")] == [
        "deletion?sizes=50",
        "shape",
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("roar", [FOUR]),
        ("shape, roar", [ONE, FOUR]),
        ("contract or roar", [ONE, TWO, FOUR]),
        ("contract or retraining", [ONE, TWO]),
        ("(retraining or faithfulness) and not deletion or roar", [FOUR]),
        ("not shape", [TWO, THREE]),
        ("shape or not roar", [ONE, TWO, THREE]),
    ],
)
def test_who_names_a_check_gets_it_whatever_the_budget(expression: str, expected: list[Axiom]) -> None:
    assert select(expression, CHECKS, "quick") == expected


def test_a_check_with_parameters_is_named_too() -> None:
    def measure(method: object, subject: object, draw: object, *, steps: int = 3) -> Measurement:
        raise NotImplementedError

    costly = replace(FOUR, measure=measure)
    found = select("roar?steps=5", {**CHECKS, "roar": costly}, "quick")
    assert [check.name for check in found] == ["roar?steps=5"]


def test_a_family_of_the_same_name_follows_the_budget() -> None:
    alike = {
        **CHECKS,
        "cost": replace(declared("cost", "cost"), cost="full"),
        "other": declared("other", "cost"),
    }
    assert [check.name for check in select("cost", alike, "quick")] == ["other"]
