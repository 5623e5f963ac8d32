"""Standard faithfulness checks on the digits: good methods pass, broken ones and controls fail, 5 seeds."""

from collections.abc import Callable
from functools import cache

import pytest
from broken_methods import broken
from judging import judge as judge_one

from xattr_check import Beats, Store, Subject, Verdict, checks, load_method
from xattr_check.core.run import Run

pytestmark = pytest.mark.slow

# What is held against controls but not in every run, where test_battery_on_digits holds it.
STANDARD = sorted(
    name
    for name, one in checks().items()
    if one.family == "faithfulness"
    and one.cost == "standard"
    and isinstance(one.gate, Beats)
    and not one.claimed
)
NEGATIVE = ("random", "edges", "center", "constant", "input_magnitude")
SEEDS = range(5)

Judge = Callable[[object, str, int], Verdict]


@pytest.fixture(scope="module")
def judge(digits: Subject, store: Store) -> Judge:
    """The verdict on a method by one check and seed, in the standard budget."""
    run = cache(lambda seed: Run(store=store, seed=seed, budget="standard"))
    found = cache(load_method)

    def verdict(method: object, check: str, seed: int) -> Verdict:
        return judge_one(check, found(method), digits, run(seed))

    return verdict


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["oracle", "gradcam", "guided_backprop", "lrp"])
def test_a_good_method_passes(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed).status for check in STANDARD}
    assert found == dict.fromkeys(STANDARD, "pass")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NEGATIVE)
def test_a_control_fails(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed).status for check in STANDARD}
    assert found == dict.fromkeys(STANDARD, "fail")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["sign_flipped", "edges_in_disguise"])
def test_a_broken_method_fails(name: str, seed: int, judge: Judge) -> None:
    method = broken(name)
    found = {check: judge(method, check, seed).status for check in STANDARD}
    assert found == dict.fromkeys(STANDARD, "fail")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name",
    ["transposed", "shifted", "flipped", "wrong_layer_weights", "mostly_edges", "wrapped_around"],
)
def test_a_map_of_something_else_passes_nothing(name: str, seed: int, judge: Judge) -> None:
    method = broken(name)
    found = {check: judge(method, check, seed).status for check in STANDARD}
    assert "pass" not in found.values()
    assert found["infidelity"] == "fail"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["gradient", "input_x_gradient"])
def test_a_slope_does_not_foretell_a_replacement(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed).status for check in STANDARD}
    assert found.pop("infidelity") == "fail"
    # What input × gradient removes is scattered, and imputed from those around.
    assert found.pop("road") in (("pass",) if name == "gradient" else ("pass", "undecided"))
    assert set(found.values()) == {"pass"}


def test_a_fifth_of_the_regions_holds_a_digit_for_edges_too(judge: Judge) -> None:
    """The mask does not beat them there, a method that asks the model does, by little."""
    verdict = judge("xattr:gradcam", "top_bottom_masking?by=regions", 0)
    assert verdict.status == "undecided"
    assert "better than control 'edges'" in str(verdict)
    tenth = judge("xattr:gradcam", "top_bottom_masking?by=regions&share=0.1", 0)
    assert tenth.status in ("pass", "undecided")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xattr:oracle", "pass"),
        ("xattr:guided_backprop", "pass"),
        ("xattr:edges", "fail"),
        ("xattr:center", "fail"),
        ("xattr:gradcam", "fail"),
        ("transposed", "fail"),
    ],
)
def test_soundness_is_what_signed_maps_lack(name: str, expected: str, judge: Judge) -> None:
    method = name if ":" in name else broken(name)
    verdict = judge(method, "completeness_soundness", 0)
    assert (verdict.status, verdict.failed) == (expected, False)
    if name == "xattr:gradcam":
        assert float(verdict.evidence["completeness"].mean()) > 0.9
        assert float(verdict.evidence["soundness"].mean()) < 0.1
