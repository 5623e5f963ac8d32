"""On the digits: broken methods fail where their defect is named, good ones pass, controls fail.

One case for each check by seed 0 always, all by seeds 0 to 4 with --slow. All tests, and all workers, share
one store.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from broken_methods import CAUGHT_BY, GENERATED, MAY_FAIL, MEANING, broken
from judging import each, seeds
from judging import judge as judge_one

import xattr_check
from xattr_check import Store, Subject, Verdict, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run

CHECKS = xattr_check.checks()
# What is known of these; those of larger budgets are in test_faithfulness_on_digits.py.
FAITHFULNESS = ("deletion", "insertion", "sensitivity_n")
SANITY = ("data_randomization", "parameter_randomization", "retrained")
# Beyond the quick budget, which alone takes as long as all of the others.
INDEPENDENT = "parameter_randomization_independent"
RANDOMISED = ("parameter_randomization", INDEPENDENT)
FEATURES = ("class_sensitivity_double", "class_sensitivity_single", "null_feature", "saturation")
CONTRIBUTIONS = ("exchange", "graded", "suppression", "synergy")
GOOD = ("gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "gradcam", "occlusion")
NEGATIVE = ("random", "edges", "center", "constant", "input_magnitude")
THROUGH_ALL_LAYERS = ("gradient", "smoothgrad", "guided_backprop")
# Sums over a feature are right, whatever its pixels say.
ADDING_UP = ("integrated_gradients", "input_x_gradient", "deeplift")
# What the quick budget leaves open on some seeds: both beat edges by little more than the margin.
MAY_BE_UNDECIDED = {
    ("input_x_gradient", "sensitivity_n"),
    ("input_x_gradient", "insertion"),
    ("gradcam", "sensitivity_n"),
    ("gradcam", "insertion"),
    # One pair of networks; with signs that are those of few cells.
    ("gradcam", "data_randomization"),
}

BROKEN = (*MEANING, *GENERATED)
# The first that each check has to catch.
FIRST = set({CAUGHT_BY[name]: name for name in reversed(BROKEN)}.values())

Judge = Callable[[object, str, int], Verdict]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """All the threads that a worker may have, in place of the one that suits tiny networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(
        max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    )
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judge(digits: Subject, store: Store) -> Judge:
    """The verdict on a method by one check and seed; maps are kept for the other checks of that seed."""
    run = cache(lambda seed: Run(store=store, seed=seed))
    found = cache(load_method)

    def verdict(method: object, check: str, seed: int) -> Verdict:
        return judge_one(check, found(method), digits, run(seed))

    return verdict


@pytest.mark.parametrize(("name", "seed"), each(*BROKEN, slow=set(BROKEN) - FIRST))
def test_a_broken_method_fails_its_check(name: str, seed: int, judge: Judge) -> None:
    verdict = judge(broken(name), CAUGHT_BY[name], seed)
    assert verdict.failed, str(verdict)
    assert verdict.status == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_method_fails_no_check_but_those_that_it_should(name: str, judge: Judge) -> None:
    method = broken(name)
    checks = FEATURES if name in GENERATED else [*FAITHFULNESS, *SANITY, "completeness"]
    failed = {check for check in checks if judge(method, check, 0).failed}
    assert failed - {CAUGHT_BY[name]} <= MAY_FAIL[name]


@pytest.mark.parametrize(("name", "seed"), each(*GOOD, slow=set(GOOD) - {"gradient"}))
def test_a_good_method_fails_nothing(name: str, seed: int, judge: Judge) -> None:
    more = ["completeness"] if name == "integrated_gradients" else []
    found = [judge(f"xattr:{name}", check, seed) for check in (*FAITHFULNESS, *SANITY, *more)]
    assert [str(v) for v in found if v.status not in ("pass", "undecided")] == []
    undecided = {(name, v.check) for v in found if v.status == "undecided"}
    assert undecided <= MAY_BE_UNDECIDED


@pytest.mark.parametrize("seed", seeds())
def test_guided_backprop_is_caught_by_other_weights(seed: int, judge: Judge) -> None:
    found = judge("xattr:guided_backprop", "parameter_randomization", seed)
    assert found.status == "fail", str(found)
    curve = found.evidence["spearman"].mean(0)
    # It is most alike where the cascade begins, and step by step less.
    assert float(curve[0]) > 0.8
    assert bool((curve.diff() < 0.02).all())
    assert float(curve[0] - curve[-1]) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_guided_backprop_is_caught_wherever_weights_are_others(seed: int, judge: Judge) -> None:
    checks = (*SANITY, INDEPENDENT)
    failed = {check for check in checks if judge("xattr:guided_backprop", check, seed).status == "fail"}
    assert set(RANDOMISED) <= failed <= {*RANDOMISED, "data_randomization", "retrained"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_guided_backprop_is_as_faithful_as_others(seed: int, judge: Judge) -> None:
    found = [judge("xattr:guided_backprop", check, seed) for check in FAITHFULNESS]
    assert [str(verdict) for verdict in found if verdict.status == "fail"] == []


@pytest.mark.parametrize(("name", "seed"), each(*NEGATIVE, slow=set(NEGATIVE) - {"random", "edges"}))
def test_a_control_fails_everything(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed) for check in [*FAITHFULNESS, *SANITY]}
    assert {check: v.status for check, v in found.items()} == dict.fromkeys(found, "fail")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [*((name, "pass") for name in GOOD), *((name, "fail") for name in (*NEGATIVE, "oracle"))],
)
def test_one_random_layer_tells_who_asks_the_model(name: str, expected: str, judge: Judge) -> None:
    found = judge(f"xattr:{name}", INDEPENDENT, 0)
    assert found.status == expected, str(found)


@pytest.mark.parametrize("seed", seeds())
def test_the_oracle_is_faithful_and_asks_no_model(seed: int, judge: Judge) -> None:
    found = {check: judge("xattr:oracle", check, seed) for check in [*FAITHFULNESS, *SANITY]}
    expected = dict.fromkeys(FAITHFULNESS, "pass") | dict.fromkeys(SANITY, "fail")
    assert {check: v.status for check, v in found.items()} == expected


@pytest.mark.parametrize(("name", "seed"), each("gradcam", "occlusion", slow=["occlusion"]))
def test_what_keeps_apart_what_the_features_do_fails_nothing(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed) for check in FEATURES}
    undecided = {check for check, v in found.items() if v.status == "undecided"}
    # gradcam's balance of 0.35 is known to ± 0.1 from 128 samples: not clear of 0.25 on one seed in five.
    open_ones = {"saturation"} if name == "gradcam" else set()
    assert undecided <= open_ones, [str(v) for v in found.values()]
    assert {v.status for check, v in found.items() if check not in undecided} == {"pass"}


@pytest.mark.parametrize(("name", "seed"), each(*ADDING_UP, slow=ADDING_UP[1:]))
def test_what_adds_up_leaves_features_without_effect_out(name: str, seed: int, judge: Judge) -> None:
    for check in ("class_sensitivity_double", "null_feature"):
        found = judge(f"xattr:{name}", check, seed)
        assert found.status == "pass", str(found)


@pytest.mark.parametrize(
    ("name", "seed"),
    each(*THROUGH_ALL_LAYERS, slow=THROUGH_ALL_LAYERS[1:]),
)
def test_gradients_through_all_layers_show_features_without_effect(
    name: str, seed: int, judge: Judge
) -> None:
    """As in Table 1 of [khakzar2022]; guided_backprop is at the gate of `null_feature`."""
    found = {check: judge(f"xattr:{name}", check, seed) for check in FEATURES}
    assert found["class_sensitivity_double"].status == "fail"
    assert found["class_sensitivity_single"].status in ("pass", "undecided")
    assert found["null_feature"].status in (("fail",) if name != "guided_backprop" else ("fail", "undecided"))
    assert found["saturation"].status in ("not_applicable", "undecided", "pass")


@pytest.mark.parametrize(("name", "seed"), each(*NEGATIVE, slow=set(NEGATIVE) - {"random", "edges"}))
def test_a_control_fails_on_features(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed).status for check in FEATURES}
    assert found == dict.fromkeys(FEATURES, "fail") | {"saturation": "not_applicable"}


@pytest.mark.parametrize("seed", seeds())
def test_the_oracle_knows_the_features(seed: int, judge: Judge) -> None:
    assert {judge("xattr:oracle", check, seed).status for check in FEATURES} == {"pass"}


@pytest.mark.parametrize(
    ("name", "seed"),
    each("integrated_gradients", "deeplift", "lrp", "occlusion", slow=("deeplift", "lrp", "occlusion")),
)
def test_what_adds_up_tells_how_much_features_do(name: str, seed: int, judge: Judge) -> None:
    for check in CONTRIBUTIONS:
        found = judge(f"xattr:{name}", check, seed)
        assert found.status == "pass", str(found)


@pytest.mark.parametrize("seed", seeds())
def test_a_rectified_map_tells_no_evidence_against(seed: int, judge: Judge) -> None:
    found = {check: judge("xattr:gradcam", check, seed).status for check in CONTRIBUTIONS}
    others = dict.fromkeys(("exchange", "graded", "synergy"), "pass")
    assert found == others | {"suppression": "not_applicable"}


@pytest.mark.parametrize("seed", seeds())
def test_a_gradient_does_not_tell_how_much_features_do(seed: int, judge: Judge) -> None:
    found = {check: judge("xattr:gradient", check, seed).status for check in CONTRIBUTIONS}
    others = dict.fromkeys(("exchange", "graded", "synergy"), "fail")
    assert found == others | {"suppression": "not_applicable"}


@pytest.mark.parametrize("seed", seeds())
def test_how_sure_the_model_is_does_not_pass_for_synergy(seed: int, judge: Judge) -> None:
    """It is what is lost where features are alone, and says nothing of them."""
    found = {check: judge(broken("brighter_where_surer"), check, seed) for check in CONTRIBUTIONS}
    assert "pass" not in {one.status for one in found.values()}
    assert "uninformative, since null_feature, which it presumes, fails" in str(found["synergy"])


@pytest.mark.parametrize(("name", "seed"), each(*NEGATIVE, slow=set(NEGATIVE) - {"random", "edges"}))
def test_a_control_fails_on_contributions(name: str, seed: int, judge: Judge) -> None:
    found = {check: judge(f"xattr:{name}", check, seed) for check in CONTRIBUTIONS}
    assert [str(one) for one in found.values() if one.status != "fail"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds())
def test_the_classifiers_weights_are_caught_where_other_layers_are_randomised(
    seed: int, judge: Judge
) -> None:
    """The cascade begins at the classifier, so that a map of its weights alone passes it."""
    method = broken("classifier_weights")
    assert judge(method, "parameter_randomization", seed).status == "pass"
    assert judge(method, "parameter_randomization_independent", seed).status == "fail"
    assert judge(method, "retrained", seed).status == "fail"


def test_gradcam_gets_worse_towards_the_input(judge: Judge) -> None:
    """Table 2 of [khakzar2022]."""
    found = [judge(f"xattr:gradcam?layer=stage{stage}", "null_feature", 0).interval for stage in (3, 2)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].value < found[1].value


@pytest.mark.parametrize(
    "check",
    [*FAITHFULNESS, pytest.param("parameter_randomization", marks=pytest.mark.slow), "completeness"],
)
@pytest.mark.parametrize("name", [pytest.param("gradient", marks=pytest.mark.slow), "gradcam"])
def test_scores_do_not_depend_on_the_batch_size(name: str, check: str, digits: Subject, store: Store) -> None:
    """Up to rounding: 6e-5 was seen on one input, where two pixels exchanged ranks, and 2e-6 on the mean."""
    axiom, method = CHECKS[check], load_method(f"xattr:{name}")
    samples = []
    for batch in (1, 7, 64):
        run = Run(store=store, batch=batch)
        draw = next(run.draws(check, digits, axiom.inputs))
        samples.append(axiom.measure(Explainer.of(method, digits, run), digits, draw).samples)
    for other in samples[1:]:
        torch.testing.assert_close(other, samples[0], rtol=0, atol=1e-3)
        torch.testing.assert_close(other.mean(), samples[0].mean(), rtol=0, atol=5e-5)
