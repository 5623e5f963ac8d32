"""Checks that are measured on a subject of their own making, and checks that presume others."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from judging import item_of
from subjects import images
from torch import Tensor, nn

from xattr_check import AtMost, Invalid, Measurement, Subject, Undefined, Verdict, axiom, load_method, method
from xattr_check.battery.battery import Beside, item
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run
from xattr_check.errors import MethodError
from xattr_check.report import declared, reference

GIVEN = images(count=8)


def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.zeros_like(inputs)


def made(count: int = 128, level: float = 0.0) -> Subject:
    """A derived subject: the same model, other inputs, a truth."""
    inputs = images(count, seed=1).inputs + level
    return Subject(
        "made", GIVEN.model, inputs, torch.zeros(count, dtype=torch.int64),
        truth={"mask": torch.ones(count, 1, 12, 12, dtype=torch.bool)}, causal=True,
    )  # fmt: skip


def check(name: str = "synthetic", levels: dict[str, float] | None = None, **options: Any) -> Axiom:
    """An axiom whose statistic is a level by method, or else the share of inputs that are the given ones."""

    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        if (level := (levels or {}).get(explainer.name)) is not None:
            if level < 0:
                raise MethodError("raised ValueError: no")
            return Measurement(torch.full((len(draw.inputs),), level, dtype=torch.float64))
        own = {row.sum().item() for row in GIVEN.inputs}
        return Measurement(torch.tensor([float(row.sum().item() in own) for row in draw.inputs]).double())

    measure.__name__ = name
    return axiom(
        statement="It holds.",
        family="generated",
        gate=options.pop("gate", AtMost(0.5)),
        reads="of it",
        **options,
    )(measure)


@pytest.fixture
def installed() -> dict[str, Axiom]:
    """Checks that others may presume."""
    return {}


@pytest.fixture
def judge(run: Run, installed: dict[str, Axiom]) -> Callable[..., Verdict]:
    def noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.ones_like(inputs)

    def truth(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
        return subject.truth["mask"][subject.locate(inputs)].to(inputs)

    controls = {
        "random": replace(method(control="negative")(noise), name="random"),
        "oracle": replace(method(control="positive", needs=("mask",))(truth), name="oracle"),
    }
    found = replace(load_method(explain), name="mine")

    def judge(axiom: Axiom, subject: Subject = GIVEN, **options: Any) -> Verdict:
        options.setdefault("controls", controls)
        return item_of(options.pop("method", found), axiom, subject, known=installed, **options).judge(run)

    return judge


def test_the_derived_subject_is_measured_and_made_once_in_a_run(
    judge: Callable[..., Verdict], run: Run
) -> None:
    calls: list[str] = []

    def on(subject: Subject, run: Run) -> Subject:
        calls.append(subject.name)
        return made()

    assert judge(check()).interval.value == 1
    first = judge(check(on=on))
    assert (first.status, first.interval.value, first.n, first.subject) == ("pass", 0, 32, "images")
    judge(check("another", on=on), method=replace(load_method(explain), name="other"))
    assert calls == ["images"]
    judge(check(on=on), images(count=9))
    assert calls == ["images", "images"]


def test_the_subject_itself_has_to_offer_what_the_check_needs(judge: Callable[..., Verdict]) -> None:
    def on(subject: Subject, run: Run) -> Subject:
        raise AssertionError("not asked")

    verdict = judge(check(on=on, needs=("mask",)))
    assert verdict.status == "not_applicable"
    assert str(verdict) == "synthetic: needs mask, which subject 'images' does not offer"


def test_methods_and_controls_are_given_the_derived_subject(judge: Callable[..., Verdict]) -> None:
    """It has the mask that the subject itself has not."""
    oracle = registry.methods()["oracle"]
    on = lambda subject, run: made()  # noqa: E731
    assert judge(check(positive=("oracle",))).controls == {}
    verdict = judge(check(on=on, positive=("oracle",)), method=oracle)
    assert (verdict.status, verdict.controls) == ("pass", {"oracle": 0})
    assert judge(check(), method=oracle).status == "not_applicable"
    picky = replace(oracle, needs=frozenset({"regions"}))
    assert str(judge(check(on=on), method=picky)) == (
        "synthetic: needs regions, which subject 'made' does not offer"
    )


def test_controls_are_kept_by_the_derived_subject(judge: Callable[..., Verdict]) -> None:
    seen: list[tuple[str, float]] = []

    def counted(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        seen.append((explainer.name, float(draw.inputs.mean().round())))
        return Measurement(torch.full((len(draw.inputs),), float(explainer.name == "random")).double())

    for level in (0.0, 0.0, 3.0):
        on = lambda subject, run, level=level: made(level=level)  # noqa: E731
        judge(axiom(statement="", family="generated", gate=AtMost(0.5), negative=("random",), on=on)(counted))
    assert seen == [("mine", 0), ("random", 0), ("mine", 0), ("mine", 3), ("random", 3)]


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Undefined("the model has one output"), "not_applicable", "synthetic: the model has one output"),
        (
            Invalid("3 of 40 samples hold on fresh draws"),
            "invalid",
            "synthetic: 3 of 40 samples hold on fresh draws; the check says nothing about 'images'",
        ),
    ],
)
def test_what_cannot_be_derived_is_not_tried_again(
    error: Exception, status: str, sentence: str, judge: Callable[..., Verdict]
) -> None:
    calls: list[int] = []

    def on(subject: Subject, run: Run) -> Subject:
        calls.append(1)
        raise error

    for _ in range(2):
        verdict = judge(check(on=on))
        assert (verdict.status, str(verdict), verdict.n) == (status, sentence, 0)
    assert len(calls) == 1


@pytest.fixture
def presumed(installed: dict[str, Axiom]) -> Callable[..., list[str]]:
    """Installs a check of a given level for each method; who was measured by it is returned."""

    def install(levels: dict[str, float], **options: Any) -> list[str]:
        base = check("base", levels, **options)
        asked: list[str] = []

        def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
            asked.append(explainer.name)
            return base.measure(explainer, subject, draw)

        installed["base"] = replace(base, measure=measure)
        return asked

    return install


def test_a_pass_says_nothing_where_the_check_itself_says_so(judge: Callable[..., Verdict]) -> None:
    """And what fails has failed, whatever a pass would have said."""

    def told(one: Axiom) -> Axiom:
        def measure(*given: Any) -> Measurement:
            return replace(one.measure(*given), uninformative="the place gives it away")

        return replace(one, measure=measure)

    passing = judge(told(check(levels={"mine": 0.1, "random": 0.9}, negative=("random",))))
    assert passing.status == "not_applicable"
    assert str(passing) == ("synthetic: 0.1 of it (gate ≤ 0.5); uninformative, since the place gives it away")
    assert judge(told(check(levels={"mine": 0.8, "random": 0.9}, negative=("random",)))).status == "fail"


def test_a_pass_says_nothing_where_what_it_presumes_does_not_hold(
    judge: Callable[..., Verdict], presumed: Callable[..., list[str]]
) -> None:
    asked = presumed({"mine": 0.8})
    top = check(levels={"mine": 0.1, "random": 0.9}, negative=("random",), presumes=("base",))
    for _ in range(2):
        verdict = judge(top)
        assert (verdict.status, verdict.failed, verdict.n) == ("not_applicable", False, 8)
        assert verdict.interval.value == pytest.approx(0.1)
        assert verdict.controls == {"random": 0.9}
        assert str(verdict) == (
            "synthetic: 0.1 of it (gate ≤ 0.5); uninformative, since base, which it presumes, fails: 0.8 "
            "(gate ≤ 0.5)"
        )
    assert asked == ["mine"]
    assert judge(top, expected_failure=ExpectedFailure("a reason")).status == "not_applicable"


def test_a_pass_says_nothing_where_what_it_presumes_breaks(
    judge: Callable[..., Verdict], presumed: Callable[..., list[str]]
) -> None:
    presumed({"mine": -1.0})
    verdict = judge(check(levels={"mine": 0.1}, presumes=("base",)))
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith("; uninformative, since base, which it presumes, errors")


def test_a_pass_says_nothing_where_what_it_presumes_is_invalid(
    judge: Callable[..., Verdict], presumed: Callable[..., list[str]]
) -> None:
    presumed({"mine": 0.8, "random": 0.1}, negative=("random",))
    verdict = judge(check(levels={"mine": 0.1}, presumes=("base",)))
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith(
        "; uninformative, since base, which it presumes, says nothing about 'images'"
    )


def test_a_pass_says_nothing_where_what_it_presumes_is_undecided(
    judge: Callable[..., Verdict], installed: dict[str, Axiom]
) -> None:
    """Noise looks fair to one check, and another one cannot tell yet that it is noise."""

    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        return Measurement(torch.tensor([0.2, 0.8]).double().repeat(len(draw.inputs))[: len(draw.inputs)])

    installed["base"] = replace(check("base"), measure=measure)
    verdict = judge(check(levels={"mine": 0.1}, presumes=("base",)))
    assert verdict.status == "not_applicable"
    assert "; uninformative, since base, which it presumes, is undecided: 0.5" in str(verdict)


def test_a_pass_stands_where_what_it_presumes_does_not_fail(
    judge: Callable[..., Verdict], presumed: Callable[..., list[str]]
) -> None:
    top = check(levels={"mine": 0.1}, presumes=("base",))
    presumed({"mine": 0.2})
    assert judge(top).status == "pass"
    presumed({"mine": 0.8}, needs=("mask",))  # not applicable
    assert judge(top, images(count=10)).status == "pass"


def test_only_a_pass_asks_for_what_it_presumes(
    judge: Callable[..., Verdict], presumed: Callable[..., list[str]]
) -> None:
    asked = presumed({"mine": 0.8})
    assert judge(check(levels={"mine": 0.9}, presumes=("base",))).status == "fail"
    assert judge(check(levels={"mine": -1.0}, presumes=("base",))).status == "error"
    invalid = check("other", {"mine": 0.1, "random": 0.2}, negative=("random",), presumes=("base",))
    assert judge(invalid).status == "invalid"
    assert asked == []


def test_gates_of_the_settings_hold_for_what_is_presumed(
    run: Run, presumed: Callable[..., list[str]], installed: dict[str, Axiom]
) -> None:
    presumed({"explain": 0.8})
    top = check(levels={"explain": 0.1}, presumes=("base",))
    found = load_method(explain)
    for settings, status in (
        (Settings(), "not_applicable"),
        (Settings(gates={"base": AtMost(0.9)}), "pass"),
        (Settings(expected_failures={"base": "it saturates"}), "not_applicable"),
    ):
        assert item(settings, found, top, GIVEN, Beside(installed, {})).judge(run).status == status


def test_the_reference_tells_of_both() -> None:
    def on(subject: Subject, run: Run) -> Subject:
        """Made for the model.

        At length.
        """
        return subject

    told = declared.text_of_check(reference.of_check(check(on=on, presumes=("base",))))
    assert "\non         Made for the model.\n" in told
    assert "\npresumes   base: a method that fails it cannot pass here" in told
    said = reference.of_check(check(on=on, presumes=("base",)))
    assert (said["on"], said["presumes"]) == ("Made for the model.", ["base"])
    plain = reference.of_check(check())
    assert (plain["on"], plain["presumes"]) == (None, [])


# More inputs where a verdict is open.


@dataclass(eq=False)
class Growing:
    """Makes 16 inputs, and twice as many at each further stage, of which it is noted that they were made."""

    counts: tuple[int, ...]
    made: list[int]

    def __call__(self, subject: Subject, run: Run) -> Subject:
        self.made.append(self.counts[-1])
        if self.counts[-1] == 0:
            raise Invalid("nothing came of it")
        return made(self.counts[-1])

    def stages(self, subject: Subject, run: Run) -> list["Growing"]:
        return [Growing((count,), self.made) for count in self.counts]


@pytest.mark.parametrize(
    ("level", "counts", "taken", "n", "status"),
    [
        (5.0, (16, 32, 64), [16], 16, "fail"),
        (-5.0, (16, 32, 64), [16], 16, "pass"),
        (0.35, (16, 32, 64, 512), [16, 32, 64], 64, "pass"),
        (0.5, (16, 32, 64), [16, 32, 64], 64, "undecided"),
        (0.5, (16, 16, 64), [16, 16, 64], 64, "undecided"),
        (0.5, (16, 16), [16, 16], 16, "undecided"),
        (0.5, (16, 0, 64), [16, 0], 16, "undecided"),
        (0.5, (0, 16), [0], 0, "invalid"),
    ],
)
def test_more_inputs_are_made_while_a_verdict_is_open(
    level: float,
    counts: tuple[int, ...],
    taken: list[int],
    n: int,
    status: str,
    judge: Callable[..., Verdict],
) -> None:
    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        around = torch.tensor([0.3, -0.3, 0.1, -0.1]).repeat(len(draw.inputs))[: len(draw.inputs)]
        return Measurement((level + around).double())

    asked: list[int] = []
    declare = axiom(statement="", family="generated", gate=AtMost(0.5), on=Growing(counts, asked))
    found = judge(declare(measure))
    assert (asked, found.n, found.status) == (taken, n, status)


def growing(measure: Callable[..., Measurement], made: list[int]) -> Axiom:
    return axiom(statement="", family="generated", gate=AtMost(0.5), on=Growing((16, 32, 64), made))(measure)


def open_(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Asks for a map, and tells nothing by it."""
    explainer(subject.model, draw.inputs, draw.targets)
    return Measurement(0.5 + torch.tensor([0.3, -0.3]).double().repeat(len(draw.inputs))[: len(draw.inputs)])


class Scaled(nn.Module):
    """Multiplies by a number that stands elsewhere, where no digest finds it."""

    factors: ClassVar[dict[int, float]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.network = GIVEN.model

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.network(inputs)) * Scaled.factors.get(0, 1.0)


@pytest.fixture
def spoiled() -> Iterator[None]:
    yield
    Scaled.factors.clear()


@pytest.mark.usefixtures("spoiled")
def test_nothing_is_made_with_a_model_that_a_method_has_spoiled(run: Run) -> None:
    """By the method itself, nor for the next one."""

    def spoil(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        Scaled.factors[0] = 3.0
        return torch.ones_like(inputs)

    given = replace(images(count=8), model=Scaled())
    asked: list[int] = []
    spoiling = item_of(spoil, growing(open_, asked), given)
    first = replace(spoiling, told_by=spoiling.check.name)  # it is asked for a map before anything is made
    assert (first.judge(run).status, asked) == ("invalid", [])
    Scaled.factors.clear()
    spoiling.judge(run)
    assert asked == [16]
    found = item_of(explain, growing(open_, asked), given).judge(run)
    assert (found.status, asked) == ("invalid", [16])
    assert "an earlier method left something behind" in found.sentence


def test_nothing_is_made_for_a_method_that_another_check_tells_of(run: Run) -> None:
    def raising(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("no map")

    asked: list[int] = []
    one = replace(item_of(raising, growing(open_, asked), GIVEN), told_by="shape")
    found = one.judge(run)
    assert (found.status, asked) == ("not_applicable", [])
    assert "as shape tells, the method raised ValueError: no map" in found.sentence
    alone = replace(one, told_by="")
    assert (alone.judge(run).status, asked) == ("error", [16])


def test_what_comes_to_no_figure_comes_to_none_on_more_inputs(judge: Callable[..., Verdict]) -> None:
    def measure(explainer: Explainer, subject: Subject, draw: Draw) -> Measurement:
        raise Invalid("this model says nothing")

    asked: list[int] = []
    assert (judge(growing(measure, asked)).status, asked) == ("invalid", [16])


def test_what_was_drawn_before_stays_as_it_was(run: Run) -> None:
    few, more = made(20), made(70)
    alone = list(run.draws("any", few, 16))
    later = list(run.draws("any", more, 16, parts=(20,)))
    assert [len(draw.indices) for draw in alone] == [16, 4]
    assert [len(draw.indices) for draw in later] == [16, 4, 16, 16, 16, 2]
    for before, after in zip(alone, later, strict=False):
        assert torch.equal(before.indices, after.indices)
        assert before.seed == after.seed
    assert sorted(torch.cat([draw.indices for draw in later]).tolist()) == list(range(70))
    smaller = [
        [draw.indices.tolist() for draw in run.draws("any", *of, 16, 2, parts=parts)]
        for of, parts in (((few,), ()), ((more,), (20,)))
    ]
    assert smaller[0] == smaller[1][:3]
