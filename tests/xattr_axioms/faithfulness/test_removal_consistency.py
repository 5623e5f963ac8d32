"""Both orders of removal by loops over inputs and features; told, and gated only on request."""

from itertools import pairwise

import pytest
import torch
from judging import judge, measured
from planted import planted
from scipy.stats import spearmanr
from subjects import columns, sharp
from torch import Tensor, nn

from xattr_axioms.faithfulness.removal_consistency import _at_random
from xattr_check import AtLeast, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_methods import input_x_gradient

NAME = "removal_consistency"
SIGNAL = planted("signal", "classes")


def flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return -input_x_gradient(model, inputs, targets)


def areas(subject: Subject, one: Tensor, target: Tensor, scores: list[float]) -> tuple[float, float]:
    """The area under the change with the highest first, and one less that with the lowest first."""
    mean, order = subject.inputs.mean(0), sorted(range(6), key=lambda place: -scores[place])
    found = []
    for sequence in (order, order[::-1]):
        changes, changed = [0.0], one.clone()
        with torch.no_grad():
            whole = float(subject.model(one[None]).double().softmax(1)[0, target])
            for place in sequence:
                changed[place] = mean[place]
                left = float(subject.model(changed[None]).double().softmax(1)[0, target])
                changes.append(abs(left - whole) / max(left, whole))
        found.append(sum((first + second) / 12 for first, second in pairwise(changes)))
    return found[0], 1 - found[1]


def test_one_feature_after_the_other(run: Run) -> None:
    subject = sharp(columns(count=16))
    found, draw = measured(f"{NAME}?orders=3", "xattr:input_x_gradient", subject, run)
    method = Explainer.of(load_method("xattr:input_x_gradient"), subject, run)
    others = [
        _at_random(method, draw, number).scores(subject.model, draw.inputs, draw.targets)
        for number in range(3)
    ]
    own = method.scores(subject.model, draw.inputs, draw.targets)
    rows, both = [], []
    for row, (one, target) in enumerate(zip(draw.inputs, draw.targets, strict=True)):
        morf, lerf = areas(subject, one, target, own[row].tolist())
        signs = []
        for other in others:
            random = areas(subject, one, target, other[row].tolist())
            signs.append(float((torch.tensor([morf, lerf]) - torch.tensor(random)).sign().prod()))
        rows.append(sum(signs) / 3)
        both.append((morf, lerf))
    assert found.evidence["areas"].flatten().tolist() == pytest.approx(sum(both, ()), abs=1e-5)
    assert found.samples.tolist() == pytest.approx(rows)
    expected = float(spearmanr(*zip(*both, strict=True)).statistic)
    assert float(found.evidence["correlation_over_inputs"]) == pytest.approx(expected)


def test_random_orders_are_of_one_input_whatever_the_batch(run: Run) -> None:
    draw = next(run.draws(NAME, SIGNAL, 6))
    method = Explainer.of(load_method("xattr:gradient"), SIGNAL, run)
    first, second = (_at_random(method, draw, number) for number in range(2))
    whole = first.scores(SIGNAL.model, draw.inputs, draw.targets)
    assert torch.equal(whole[4:], first.scores(SIGNAL.model, draw.inputs[4:], draw.targets[4:]))
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, second.scores(SIGNAL.model, draw.inputs, draw.targets))


def test_the_wrong_sign_is_as_consistent(run: Run) -> None:
    right, wrong = (measured(NAME, method, SIGNAL, run)[0] for method in ("xattr:input_x_gradient", flipped))
    assert float(right.samples.mean()) > 0.9
    assert float(wrong.samples.mean()) > 0.9
    assert (right.evidence["gains"].mean(0) > 0.1).all()
    assert (wrong.evidence["gains"].mean(0) < 0).all()


def test_noise_is_told_and_gated_on_request(run: Run) -> None:
    right, wrong = (judge(NAME, method, SIGNAL, run) for method in ("xattr:input_x_gradient", "xattr:random"))
    assert {(one.status, one.gate) for one in (right, wrong)} == {("pass", "none")}
    assert right.interval is not None
    assert wrong.interval is not None
    assert wrong.interval.high < right.interval.low
    gate = AtLeast(0.7)
    assert judge(NAME, "xattr:input_x_gradient", SIGNAL, run, gate=gate).status == "pass"
    assert judge(NAME, "xattr:random", SIGNAL, run, gate=gate).status == "fail"


def test_a_value_has_no_share_to_lose(run: Run) -> None:
    verdict = judge(NAME, "xattr:gradient", planted("signal", "value"), run)
    assert verdict.status == "not_applicable"
    assert "probability" in verdict.sentence
