import json
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
import torch
from subjects import images
from torch import Tensor, nn

from xattr_check import (
    AtMost,
    Beats,
    Measurement,
    MethodError,
    Reaches,
    Subject,
    Undefined,
    Verdict,
    Within,
    axiom,
    contract,
    load_method,
    method,
)
from xattr_check.battery.controls import ASKING
from xattr_check.battery.item import TRAINED, Item
from xattr_check.core.checks import Axiom
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run
from xattr_check.perturbation.fills import Fill
from xattr_check.storage.digest import derive_seed


def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.zeros_like(inputs)


def samples(mean: float, spread: float, n: int, seed: int) -> Tensor:
    noise = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mean + spread * (noise - noise.mean())


def check(
    levels: dict[str, float] | None = None, spread: float = 0.1, gate: Any = None, **options: Any
) -> Axiom:
    """An axiom whose statistic is a given level for each method, with noise."""

    @axiom(statement="It holds.", family="synthetic", gate=gate or AtMost(0.5), reads="of it", **options)
    def synthetic(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        level = (levels or {}).get(explainer.name, 0.0)
        # The sum over the draw's rows differs from draw to draw, as independent draws do.
        return Measurement(samples(level, spread, len(draw.inputs), int(draw.indices.sum())))

    return synthetic


@pytest.fixture
def controls() -> dict[str, Method]:
    """Two negative controls and a positive one, whatever is installed."""

    def noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.ones_like(inputs)

    def declared(name: str, role: Any, **options: Any) -> Any:
        return replace(method(control=role, **options)(noise), name=name)

    return {
        "random": declared("random", "negative"),
        "edges": declared("edges", "negative", needs=("image",)),
        "oracle": declared("oracle", "positive"),
        "sonar": declared("sonar", "negative", needs=("water",)),
    }


@pytest.fixture
def judge(run: Run, controls: dict[str, Method]) -> Any:
    subject = images(count=128)

    def judge(axiom: Axiom, **options: Any) -> Verdict:
        found = load_method(explain) if "method" not in options else options.pop("method")
        options.setdefault("controls", controls)
        return Item(replace(found, name="mine"), axiom, subject, **options).judge(run)

    return judge


def test_pass_and_fail(judge: Any) -> None:
    good = judge(check({"mine": 0.2}))
    assert (good.status, good.failed, good.gate, good.family) == ("pass", False, "≤ 0.5", "synthetic")
    assert good.interval.low <= 0.2 <= good.interval.high < 0.5
    assert str(good) == f"synthetic: {good.interval} of it (gate ≤ 0.5)"
    bad = judge(check({"mine": 0.8}))
    assert (bad.status, bad.failed) == ("fail", True)


def test_sampling_stops_when_the_verdict_is_clear(judge: Any) -> None:
    assert judge(check({"mine": 0.0})).n == 32
    close = judge(check({"mine": 0.4}, spread=0.2))
    assert close.status == "pass"
    assert close.n in (64, 96, 128)
    assert judge(check({"mine": 0.0}, inputs=8)).n == 8


def test_a_quick_run_stops_sooner_where_it_costs_and_nothing_follows(judge: Any) -> None:
    """A check that gates takes more draws of a method of 200 passes a map, and none of a method of 2000."""
    base = check({"mine": 0.5})

    def taken(passes: float, **options: Any) -> int:
        def costly(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
            return replace(base.measure(explainer, subject, draw), passes=passes)

        found: int = judge(replace(base, measure=costly, **options)).n
        return found

    assert [taken(passes) for passes in (50, 200, 2000)] == [128, 128, 32]
    assert [taken(passes, claimed=True) for passes in (50, 200, 2000)] == [128, 32, 32]


def test_undecided_at_the_end_of_the_budget(judge: Any) -> None:
    verdict = judge(check({"mine": 0.5}))
    assert (verdict.status, verdict.failed, verdict.n) == ("undecided", False, 128)
    assert str(verdict).endswith(
        " after 128 inputs; if it is as close to the gate as that, no budget decides"
    )
    assert verdict.interval.high - 0.5 == pytest.approx(verdict.shortfall.half_width)


def test_what_is_nearly_clear_takes_more_than_the_budget(run: Run, controls: dict[str, Method]) -> None:
    """Half as many inputs again, where a verdict that gates is expected to be clear by then."""
    found = replace(load_method(explain), name="mine")

    def judged(level: float, count: int = 400, **options: Any) -> Verdict:
        axiom = check({"mine": level}, **options)
        return Item(found, axiom, images(count=count), controls=controls).judge(run)

    levels = torch.linspace(0.44, 0.5, 16).tolist()
    verdicts = [judged(level) for level in levels]
    assert {one.n for one in verdicts if one.status == "pass"} >= {128, 160, 192}
    left = [one for one in verdicts if one.status == "undecided"]
    assert left
    assert {one.n for one in left if one.shortfall.rows > 192} == {128}
    assert max(judged(level, claimed=True).n for level in levels) == 128
    assert max(judged(level, count=128).n for level in levels) == 128


def test_a_share_of_few_more_inputs_than_the_budget_is_known_by_all_of_them(
    run: Run, controls: dict[str, Method]
) -> None:
    """No number of rows of one in ten decides about a tenth, but all there are do."""

    @axiom(
        statement="It holds.",
        family="synthetic",
        gate=AtMost(0.1),
        reads="of them",
        bounds=(0, 1),
        rows="shares",
    )
    def rare(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        return Measurement((draw.indices % 11 == 0).double())

    def judged(count: int) -> Verdict:
        found = replace(load_method(explain), name="mine")
        return Item(found, rare, images(count=count), controls=controls).judge(run)

    assert [(one.status, one.n) for one in map(judged, (129, 160, 192))] == [
        ("pass", 129), ("pass", 160), ("pass", 192),
    ]  # fmt: skip
    larger = judged(300)
    assert (larger.status, larger.n) == ("undecided", 128)
    assert "about 300 inputs would decide: try --xattr-budget=standard" in str(larger)


def test_what_is_found_is_of_the_worst_draw(judge: Any) -> None:
    """Of the first draw it would contradict a failure that another one brings."""
    base = check({"mine": 0.0})

    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        first = explainer.name != "mine" or draw.seed == derive_seed("synthetic", 0, 0)
        level = 0.48 if first else 3.0
        return Measurement(samples(level, 0.1, len(draw.inputs), 0), f"found {level}")

    verdict = judge(replace(base, measure=measure))
    assert (verdict.status, "found 3.0" in str(verdict)) == ("fail", True)


def test_draws_beyond_the_budget_leave_those_within_it(run: Run) -> None:
    subject = images(count=400)
    usual, more = (list(run.draws("any", subject, 8, 72, times)) for times in (1, 1.5))
    assert [len(draw.indices) for draw in more] == [8, 72, 48, 64]
    for one, other in zip(usual, more, strict=False):
        assert torch.equal(one.indices, other.indices)
        assert one.seed == other.seed
    assert [len(draw.indices) for draw in run.draws("any", subject, 200, 0, 1.5)] == [128, 64]


def test_what_an_undecided_verdict_lacks_knows_no_bounds_of_the_figure(judge: Any) -> None:
    verdict = judge(check({"mine": 0.45}, spread=0.2, bounds=(0.4, 0.5)))
    assert (verdict.status, verdict.interval.low, verdict.interval.high) == ("undecided", 0.4, 0.5)
    assert verdict.shortfall.half_width > 0.06


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (
            {"random": 0.3, "oracle": 0.0},
            "synthetic: the control 'random' has to fail and does not: 0.3 (gate ≤ 0.5); "
            "the check says nothing about 'images'",
        ),
        (
            {"random": 0.9, "oracle": 0.7},
            "synthetic: the control 'oracle' has to pass and does not: 0.7 (gate ≤ 0.5); "
            "the check says nothing about 'images'",
        ),
    ],
)
def test_invalid_where_a_control_does_not_come_out_as_it_must(
    levels: dict[str, float], reason: str, judge: Any
) -> None:
    verdict = judge(check(levels, spread=0.0, negative=("random",), positive=("oracle",)))
    assert (verdict.status, verdict.failed, str(verdict)) == ("invalid", False, reason)
    assert verdict.controls == pytest.approx(levels)


@pytest.mark.parametrize(
    ("causal", "needs", "status"),
    [(False, (), "pass"), (True, (), "invalid"), (False, ("mask",), "invalid"), (True, ("mask",), "invalid")],
)
def test_a_mask_that_the_model_need_not_use_makes_only_what_asks_for_it_invalid(
    causal: bool, needs: tuple[str, ...], status: str, controls: dict[str, Method], run: Run
) -> None:
    given = images(count=128)
    truth = {"mask": torch.ones(128, 12, 12, dtype=torch.bool)}
    subject = replace(given, truth=truth, causal=causal)
    controls["oracle"] = replace(controls["oracle"], needs=frozenset({"mask"}))
    asked = check({"random": 0.9, "oracle": 0.7}, spread=0.0, positive=("oracle",), needs=needs)
    verdict = Item(load_method(explain), asked, subject, controls=controls).judge(run)
    assert (verdict.status, "oracle" in verdict.controls) == (status, status == "invalid")


def test_what_is_never_tried_unasked_is_a_fill() -> None:
    assert set(TRAINED) <= set(get_args(Fill))


def test_another_fill_is_named_where_the_controls_separate_then(judge: Any) -> None:
    levels = {"mean": 0.3, "blur": 0.3, "zero": 0.9}

    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5), negative=("random",))
    def removal(
        explainer: Explainer,
        subject: Subject,
        draw: Draw,
        *,
        fill: Literal["mean", "noise", "blur", "inpainted", "zero"] = "mean",
    ) -> Measurement:
        assert fill != "inpainted", "that takes half a minute of training, and nobody asked for it"
        if fill == "noise":
            raise Undefined("there is no noise")
        level = levels[fill] if explainer.name == "random" else 0.1
        return Measurement(samples(level, 0.0, len(draw.inputs), 0))

    verdict = judge(removal)
    assert str(verdict).endswith("; the check says nothing about 'images': ask removal?fill=zero")
    assert verdict.status == "invalid"
    assert str(judge(removal.with_parameters({"fill": "blur"}))).endswith("says nothing about 'images'")
    levels["zero"] = 0.2
    assert str(judge(replace(removal, inputs=16))).endswith("says nothing about 'images'")


def test_valid_where_the_controls_do(judge: Any) -> None:
    verdict = judge(
        check({"random": 0.9, "oracle": 0.1}, spread=0.0, negative=("random", "sonar"), positive=("oracle",))
    )
    assert verdict.status == "pass"
    assert verdict.controls == pytest.approx({"random": 0.9, "oracle": 0.1})  # sonar needs water


def test_beats_is_judged_against_the_best_rival(judge: Any) -> None:
    levels = {"mine": 0.6, "random": 0.1, "edges": 0.4, "oracle": 0.9}
    gate = Beats(0.02)
    verdict = judge(check(levels, spread=0.01, gate=gate, bounds=(0, 1), positive=("oracle",)))
    assert (verdict.status, verdict.best) == ("pass", 1)
    assert "better than control 'edges'" in str(verdict)
    assert set(verdict.controls) == {"random", "edges", "oracle"}
    worse = judge(check({**levels, "mine": 0.2}, spread=0.01, gate=gate, bounds=(0, 1)))
    assert worse.status == "fail"
    assert "worse than control 'edges'" in str(worse)
    # Other draws, because the store keeps the controls of those above.
    blinded = {**levels, "oracle": 0.4}
    blind = judge(check(blinded, spread=0.01, gate=gate, bounds=(0, 1), positive=("oracle",), inputs=16))
    assert blind.status == "invalid"
    assert str(blind).startswith(
        "synthetic: the control 'oracle', which knows the truth, does not beat 'edges': "
    )


def test_where_nobody_could_pass_nobody_fails(judge: Any) -> None:
    """A control that is next to the bound, or to the best that is known on these inputs."""
    levels = {"mine": 0.995, "random": 0.995, "edges": 0.2}
    verdict = judge(check(levels, spread=0.0, gate=Beats(0.02), bounds=(0, 1)))
    assert verdict.status == "invalid"
    assert str(verdict) == (
        "synthetic: no map is known to pass: the control 'random' comes to 0.995, and the best to 1, "
        "nearer than 0.01 (gate 2 % of the way above every control); the check says nothing about 'images'"
    )
    # Other draws, because the store keeps the controls of those above.
    low = {"mine": 0.2, "random": 0.005, "edges": 0.3}
    lower = check(low, spread=0.0, gate=Beats(0.02, lower=True), bounds=(0, 1), inputs=16)
    assert judge(lower).status == "invalid"
    # What loses to a control that could be beaten fails, whatever another one comes to.
    lost = judge(
        check({**low, "mine": 0.5}, spread=0.0, gate=Beats(0.02, lower=True), bounds=(0, 1), inputs=16)
    )
    assert (lost.status, "worse than control 'edges'" in str(lost)) == ("fail", True)

    def known(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        found = lower.measure(explainer, subject, draw)
        return replace(found, best=torch.full((len(draw.inputs),), -0.2))

    assert judge(replace(lower, measure=known)).status == "fail"


def test_what_no_method_beats_that_asks_the_model_fails_nobody(
    judge: Any, controls: dict[str, Method]
) -> None:
    """Where what is bright is what counts, brightness is no control; the others are."""

    def told(levels: dict[str, float], inputs: int, **options: Any) -> Verdict:
        """Other draws each time, because the store keeps what controls came to."""
        asking = {name: replace(controls["oracle"], name=name, control="") for name in ASKING}
        known = controls | asking
        strict = options.pop("strict", None)
        axiom = check(levels, spread=0.01, gate=Beats(0.1), bounds=(0, 1), inputs=inputs, **options)
        verdict: Verdict = judge(axiom, controls=known, gate=strict)
        return verdict

    levels = {"mine": 0.5, "random": 0.1, "edges": 0.7} | dict.fromkeys(ASKING, 0.2) | {"occlusion": 0.72}
    verdict = told(levels, 16)
    assert verdict.status == "invalid"
    assert str(verdict) == (
        "synthetic: no method that asks the model beats the control 'edges': it comes to 0.7, and gradient "
        "to 0.2, input_x_gradient to 0.2, integrated_gradients to 0.2, occlusion to 0.72 (gate 10 % of the "
        "way above every control); the check says nothing about 'images'"
    )
    assert "edges" in verdict.controls
    # What loses to a control that they beat fails all the same.
    lost = told({**levels, "mine": 0.1}, 24)
    assert (lost.status, "better than control 'random'" in str(lost)) == ("fail", True)
    beaten = told({**levels, "occlusion": 0.8}, 20)
    assert (beaten.status, "worse than control 'edges'" in str(beaten)) == ("fail", True)
    # That the truth beats it says what knowing the truth does.
    known = told({**levels, "oracle": 0.9}, 28, positive=("oracle",))
    assert known.status == "invalid"
    # A gate that asks for more than the check's own fails more, and excuses nothing.
    strict = told({**levels, "occlusion": 0.8}, 36, strict=Beats(0.9))
    assert strict.status == "fail"
    # Nor is a method kept from what it promises.
    assert told(levels, 12, claimed=True).status == "fail"


def test_what_the_truth_does_not_beat_excuses_no_loss_to_others(
    judge: Any, controls: dict[str, Method]
) -> None:
    """A mask is one level on all that it shows, and a map may do better: the oracle is no upper bound."""

    def told(levels: dict[str, float], inputs: int) -> Verdict:
        asking = {name: replace(controls["oracle"], name=name, control="") for name in ASKING}
        levels = {"random": 0.1, "edges": 0.7, "oracle": 0.6} | dict.fromkeys(ASKING, 0.2) | levels
        axiom = check(
            levels, spread=0.01, gate=Beats(0.1), bounds=(0, 1), inputs=inputs, positive=("oracle",)
        )
        verdict: Verdict = judge(axiom, controls=controls | asking)
        return verdict

    for number, mine in enumerate((0.5, 0.9)):  # whether it beats what the truth does not, or not
        verdict = told({"mine": mine}, 16 + 4 * number)
        assert verdict.status == "invalid"
        assert "the control 'oracle', which knows the truth, does not beat 'edges'" in str(verdict)
    assert told({"mine": 0.05}, 24).status == "fail"
    assert told({"mine": 0.5, "occlusion": 0.8}, 28).status == "fail"
    assert told({"mine": 0.9, "occlusion": 0.8}, 32).status == "pass"


def test_draws_go_on_where_only_what_nobody_beats_is_lost_to(judge: Any) -> None:
    """On the first draw nothing is clear beside the control that could be beaten, and later it is."""
    levels = {"mine": 0.3, "random": 0.3, "edges": 0.995}

    @axiom(statement="It holds.", family="synthetic", gate=Beats(0.1), reads="of it", bounds=(0, 1))
    def synthetic(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        seed = int(draw.indices.sum()) + len(explainer.name)
        return Measurement(samples(levels.get(explainer.name, 0.0), 0.1, len(draw.inputs), seed))

    verdict = judge(synthetic)
    assert verdict.status == "fail"
    assert verdict.n > 32
    assert "control 'random'" in str(verdict)


def test_the_best_of_all_is_no_worse_than_what_was_seen(judge: Any) -> None:
    """An order that is found step by step may be beaten, by the method or by a control."""

    def told(best: float, inputs: int) -> Verdict:
        axiom = check({"mine": 0.5, "random": 0.7}, spread=0.0, gate=Beats(0.1), bounds=(0, 1), inputs=inputs)

        def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
            found = axiom.measure(explainer, subject, draw)
            return replace(found, best=torch.full_like(found.samples, best))

        verdict: Verdict = judge(replace(axiom, measure=measure))
        return verdict

    assert told(0.6, 16).best == pytest.approx(0.7)
    assert told(0.9, 24).best == pytest.approx(0.9)


def test_methods_are_asked_from_the_cheapest_on_and_only_for_a_failure(
    judge: Any, controls: dict[str, Method]
) -> None:
    asked = []
    levels = {"random": 0.1, "edges": 0.4, "gradient": 0.2, "input_x_gradient": 0.9}
    base = check(levels, spread=0.01, gate=Beats(0.1), bounds=(0, 1))

    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        if explainer.name in ASKING:
            asked.append((explainer.name, len(draw.inputs)))
        if explainer.name == "gradient":
            raise Undefined("the model has no gradient")
        return base.measure(explainer, subject, draw)

    known = controls | {name: replace(controls["oracle"], name=name, control="") for name in ASKING}
    assert judge(replace(base, measure=measure), controls=known).status == "fail"
    assert asked == [("gradient", 32), ("input_x_gradient", 32)]


def test_what_parts_do_fails_nobody(judge: Any, controls: dict[str, Method]) -> None:
    """Where the witness is beyond the bound, only what is beyond the witness fails."""
    known = controls | {"occlusion": replace(controls["oracle"], name="occlusion", control="")}

    def told(mine: float, parts: float, inputs: int, random: float = 0.9, **options: Any) -> Verdict:
        """Other draws each time, because the store keeps what methods came to."""
        levels, strict = {"mine": mine, "occlusion": parts, "random": random}, options.pop("strict", None)
        axiom = check(levels, spread=0.01, bounds=(0, 1), inputs=inputs, **options)
        verdict: Verdict = judge(axiom, controls=known, gate=strict)
        return verdict

    verdict = told(0.6, 0.6, 64, witness="occlusion")
    assert verdict.status == "invalid"
    assert str(verdict).startswith(
        "synthetic: occlusion, which measures what single parts do, comes to 0.6 (gate ≤ 0.5), and this to"
    )
    assert str(verdict).endswith("is not true of parts; the check says nothing about 'images'")
    assert told(0.9, 0.6, 48, witness="occlusion").status == "fail"
    # Nor is a method excused that is no better than a control.
    assert told(0.6, 0.6, 52, witness="occlusion", negative=("random",), random=0.59).status == "fail"
    assert told(0.6, 0.6, 60, witness="occlusion", negative=("random",), random=0.7).status == "invalid"
    assert told(0.9, 0.4, 40, witness="occlusion").status == "fail"
    assert told(0.6, 0.6, 56).status == "fail"
    assert told(0.4, 0.6, 32, witness="occlusion").status == "pass"
    # What parts do is within the check's own bound: one of the user's that is not fails what is beyond it.
    assert told(0.3, 0.4, 68, witness="occlusion", strict=AtMost(0.1)).status == "fail"
    # A gate of the user's that has no bound is moved by nobody.
    beaten = told(0.15, 0.6, 44, witness="occlusion", gate=Beats(0.1), negative=("random",), random=0.2)
    assert beaten.status == "fail"


def test_references_say_what_can_be_had(judge: Any) -> None:
    """Negative controls must fail beside them, or the check says nothing."""
    levels = {"mine": 0.5, "random": 0.9, "edges": 0.9, "oracle": 0.4}
    gate = Within(0.15, of=("oracle",), lower=True)
    verdict = judge(check(levels, spread=0.01, gate=gate, negative=("random",)))
    assert verdict.status == "pass"
    assert "worse than reference 'oracle' (gate ≤ 0.15 above oracle)" in str(verdict)
    assert set(verdict.controls) == {"random", "oracle"}
    assert (verdict.bound, verdict.beats, verdict.references) == (None, False, ("oracle",))
    assert not verdict.ungated
    assert Verdict.from_record(json.loads(json.dumps(verdict.record()))).references == ("oracle",)
    worse = judge(check({**levels, "mine": 0.8}, spread=0.01, gate=gate, negative=("random",)))
    assert worse.status == "fail"
    # Other draws, because the store keeps the controls of those above.
    levels = {**levels, "oracle": 0.8}
    blind = judge(check(levels, spread=0.01, gate=gate, negative=("random",), inputs=16))
    assert blind.status == "invalid"
    assert "the control 'random' has to fail and does not: 0.9" in str(blind)


def test_a_share_of_a_reference_says_nothing_where_that_comes_to_nothing(judge: Any) -> None:
    levels = {"mine": 0.3, "random": 0.1, "oracle": 0.4}
    gate = Reaches(0.5, of=("oracle",))
    verdict = judge(check(levels, spread=0.01, gate=gate, negative=("random",), inputs=24))
    assert verdict.status == "pass"
    assert Verdict.from_record(json.loads(json.dumps(verdict.record()))).reaches
    little = replace(gate, least=0.5)
    verdict = judge(check(levels, spread=0.01, gate=little, negative=("random",), inputs=40))
    assert verdict.status == "invalid"
    assert "the reference 'oracle' comes to 0.4" in str(verdict)
    nothing = {"mine": 0.1, "random": 0.1, "oracle": 0.1}
    assert judge(check(nothing, spread=0.01, gate=gate, negative=("random",), inputs=32)).status == "invalid"


def test_no_reference_there(judge: Any) -> None:
    verdict = judge(check(gate=Within(0.1, of=("sonar",))))
    assert str(verdict) == "synthetic: 'images' allows no reference, sonar"


def test_nothing_to_beat(judge: Any) -> None:
    verdict = judge(check(gate=Beats(0.02), bounds=(0, 1), negative=("sonar",)))
    assert verdict.status == "not_applicable"
    assert str(verdict) == "synthetic: 'images' allows none of the controls that are to be beaten"


def test_lower_beats(judge: Any) -> None:
    levels = {"mine": 0.1, "random": 0.3, "edges": 0.4}
    verdict = judge(check(levels, spread=0.01, gate=Beats(0.02, lower=True), bounds=(0, 1)))
    assert verdict.status == "pass"
    assert "better than control 'random'" in str(verdict)


def test_not_applicable(judge: Any) -> None:
    verdict = judge(check(needs=("mask", "sibling scene")))
    assert (verdict.status, verdict.failed, verdict.n) == ("not_applicable", False, 0)
    assert str(verdict) == ("synthetic: needs mask and sibling scene, which subject 'images' does not offer")
    assert verdict.lacks == ("mask", "sibling scene")
    assert Verdict.from_record(verdict.record()).lacks == verdict.lacks
    assert judge(check(needs=("mask", "tokens"))).lacks == ()  # images cannot be given tokens

    @contract(statement="It holds.")
    def undefined(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        raise Undefined("the model has one output")

    assert str(judge(undefined)) == "undefined: the model has one output"
    picky = replace(load_method(explain), needs=frozenset({"regions"}))
    assert judge(check(), method=picky).status == "not_applicable"


def test_error(judge: Any) -> None:
    @contract(statement="It holds.")
    def asks(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        explainer(subject.model, draw.inputs, draw.targets)
        return Measurement(torch.zeros(1))

    def wrong(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs[:1]

    verdict = judge(asks, method=load_method(wrong))
    assert (verdict.status, verdict.failed, verdict.interval) == ("error", True, None)
    assert str(verdict).startswith("asks: expected a tensor (N, 3, 12, 12)")
    assert judge(asks).status == "pass"


def test_a_control_that_breaks_is_not_the_methods_fault(judge: Any) -> None:
    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5), negative=("random",))
    def breaks(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        if explainer.name == "random":
            raise MethodError("raised RuntimeError: no")
        return Measurement(samples(0.0, 0.1, len(draw.inputs), 0))

    verdict = judge(breaks)
    assert (verdict.status, verdict.failed) == ("invalid", False)
    assert str(verdict) == (
        "breaks: the control 'random' raised RuntimeError: no; the check says nothing about 'images'"
    )


def test_expected_failures(judge: Any) -> None:
    reason = "the gradient saturates"
    expected = ExpectedFailure(reason)
    failing = judge(check({"mine": 0.8}), expected_failure=expected)
    assert (failing.status, failing.failed) == ("xfail", False)
    assert str(failing).endswith(f"; expected: {reason}")
    passing = judge(check({"mine": 0.2}), expected_failure=expected)
    assert (passing.status, passing.failed) == ("xpass", True)
    assert str(passing).endswith(
        f"; it was expected to fail ({reason}): remove it from expected_failures, by hand or with "
        "--xattr-accept"
    )
    assert judge(check({"mine": 0.5}), expected_failure=expected).status == "undecided"
    without = judge(check({"mine": 0.8}), expected_failure=ExpectedFailure())
    assert str(without).endswith("; expected: no reason given")


def test_an_expected_failure_that_got_worse_fails(judge: Any) -> None:
    expected = ExpectedFailure("it saturates", interval=(0.6, 0.7))
    assert judge(check({"mine": 0.72}), expected_failure=expected).status == "xfail"
    worse = judge(check({"mine": 0.9}), expected_failure=expected)
    assert (worse.status, worse.failed) == ("fail", True)
    assert str(worse).endswith(
        "; worse than the [0.6, 0.7] that was accepted (it saturates): --xattr-accept accepts it as it is now"
    )


def test_exact_axioms_gate_only_where_claimed(judge: Any) -> None:
    exact = check({"mine": 0.8}, claimed=True)
    unclaimed = judge(exact)
    assert (unclaimed.status, unclaimed.required, unclaimed.failed) == ("fail", False, False)
    by_settings = judge(exact, claims=frozenset({"synthetic"}))
    assert (by_settings.required, by_settings.failed) == (True, True)
    own = replace(load_method(explain), claims=frozenset({"synthetic"}))
    assert judge(exact, method=own).failed


def test_advice_gates_where_the_subject_offers_what_makes_it_more(judge: Any) -> None:
    advised = check({"mine": 0.8}, advisory={"regions": "regions may matter"})
    alone = judge(advised)
    assert (alone.status, alone.required, alone.failed) == ("fail", False, False)
    assert (alone.advisory, alone.record()["advisory"]) == ("regions may matter",) * 2
    assert str(alone).endswith("; this is advice, since regions may matter")
    assert "advice" not in str(judge(check({"mine": 0.2}, advisory={"regions": "regions may matter"})))
    offered = judge(check({"mine": 0.8}, advisory={"image": "regions may matter"}))
    assert (offered.required, offered.failed, offered.advisory) == (True, True, "")
    assert judge(advised, claims=frozenset({"synthetic"})).failed


def test_a_gate_of_the_users_own(judge: Any) -> None:
    assert judge(check({"mine": 0.8}), gate=AtMost(0.9)).status == "pass"
    assert judge(check({"mine": 0.2}), gate=AtMost(0.1)).gate == "≤ 0.1"


def test_a_maximum_is_exact_and_takes_one_draw(judge: Any) -> None:
    verdict = judge(check({"mine": 0.5}, statistic="max", inputs=8))
    assert verdict.n == 8
    assert verdict.status in ("pass", "fail")
    assert verdict.interval.low == verdict.interval.high


def test_a_statistic_of_ones_own_is_bootstrapped(judge: Any) -> None:
    verdict = judge(check({"mine": 0.1}, statistic=lambda rows: float(rows.median())))
    assert verdict.status == "pass"
    assert verdict.interval.low < verdict.interval.value < verdict.interval.high


def test_controls_are_kept_in_the_store(judge: Any, run: Run) -> None:
    calls: list[str] = []

    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5), negative=("random",))
    def counted(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        calls.append(explainer.name)
        return Measurement(samples(1.0 if explainer.name == "random" else 0.0, 0.01, len(draw.inputs), 0))

    first, second = judge(counted), judge(counted)
    assert calls == ["mine", "random", "mine"]
    assert first.controls == second.controls
    run.seed = 1
    judge(counted)
    assert calls[3:] == ["mine", "random"]


def test_verdicts_do_not_depend_on_the_order_of_the_checks(run: Run, controls: None) -> None:
    found = load_method(explain)
    axioms = [check({"explain": level}) for level in (0.2, 0.45, 0.8)]
    subject = images(count=128)
    one = [Item(found, axiom, subject).judge(run).interval for axiom in axioms]
    other = [Item(found, axiom, subject).judge(run).interval for axiom in axioms[::-1]]
    assert one == other[::-1]


@pytest.mark.parametrize("given", ["masks", "maks"])
def test_a_truth_of_nearly_the_same_name_is_told(given: str, run: Run) -> None:
    subject = replace(images(count=16), truth={given: torch.ones(16, 1, dtype=torch.bool)})
    verdict = Item(load_method(explain), check(needs=("mask",)), subject).judge(run)
    assert str(verdict).endswith(f"needs mask, which subject 'images' does not offer (it has '{given}')")


def test_a_sibling_of_nearly_the_same_name_is_told(run: Run) -> None:
    subject = images(count=16)
    subject = replace(subject, siblings={"retraind": subject.model})
    verdict = Item(load_method(explain), check(needs=("sibling retrained",)), subject).judge(run)
    assert str(verdict).endswith("which subject 'images' does not offer (it has 'retraind')")
