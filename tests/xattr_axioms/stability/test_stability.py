"""How far maps move with their inputs, by hand; told, and gated only on request."""

from dataclasses import replace

import pytest
import torch
from judging import judge, measured
from subjects import columns, images
from torch import nn

from xattr_axioms.stability._neighbours import NEIGHBOURS
from xattr_check import AtMost, Subject, load_subject
from xattr_check.core.run import Draw, Run
from xattr_methods import input_x_gradient

CHECKS = ("max_sensitivity", "relative_stability")


def beside(subject: Subject, draw: Draw, number: int, radius: float = 0.1) -> torch.Tensor:
    generator = draw.generator("neighbour", number)
    noise = 2 * torch.rand(draw.inputs.shape, generator=generator) - 1
    return draw.inputs + radius * noise * subject.inputs.std(0)


def share(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((other - one).detach().norm() / one.detach().norm())


def test_the_largest_change_by_hand(run: Run) -> None:
    subject = columns()
    found, draw = measured("max_sensitivity?radius=0.3", "xattr:input_x_gradient", subject, run)
    before = input_x_gradient(subject.model, draw.inputs, draw.targets)
    after = [
        input_x_gradient(subject.model, beside(subject, draw, number, 0.3), draw.targets)
        for number in range(NEIGHBOURS)
    ]
    expected = [max(share(before[row], one[row]) for one in after) for row in range(len(before))]
    assert found.samples.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("to", ["input", "output", "representation"])
def test_what_it_is_measured_against_by_hand(to: str, run: Run) -> None:
    subject = columns()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # weights with which some map is zero have no ratio
        deep = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    subject = replace(subject, model=deep, targets=deep(subject.inputs).argmax(1))
    parts = {"input": nn.Identity(), "output": deep, "representation": deep[:2]}
    found, draw = measured(f"relative_stability?to={to}", "xattr:input_x_gradient", subject, run)
    before = input_x_gradient(deep, draw.inputs, draw.targets)
    expected = []
    for row in range(len(before)):
        ratios = []
        for number in range(NEIGHBOURS):
            other = beside(subject, draw, number)
            after = input_x_gradient(deep, other, draw.targets)
            if deep(other)[row].argmax() == deep(draw.inputs)[row].argmax():
                moved = share(parts[to](draw.inputs)[row], parts[to](other)[row])
                ratios.append(share(before[row], after[row]) / moved)
        expected += [max(ratios)] if ratios else []
    assert found.samples.tolist() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["analytic", "columns"])
def test_noise_is_the_least_stable_and_a_constant_the_most(check: str, name: str, run: Run) -> None:
    subject = load_subject(name)
    found = {}
    for method in ("random", "gradient", "integrated_gradients", "constant"):
        verdict = judge(check, f"xattr:{method}", subject, run)
        assert (verdict.status, verdict.gate) == ("pass", "none")
        assert verdict.interval is not None
        found[method] = verdict.interval.value
    assert found["constant"] == 0
    assert 5 * max(found["gradient"], found["integrated_gradients"]) < found["random"]


def test_a_gate_decides_on_request(run: Run) -> None:
    subject = images()
    assert judge("max_sensitivity", "xattr:random", subject, run, gate=AtMost(1.0)).status == "fail"
    assert judge("max_sensitivity", "xattr:gradcam", subject, run, gate=AtMost(1.0)).status == "pass"


def test_a_model_whose_last_layer_is_no_module(run: Run) -> None:
    subject = load_subject("analytic")
    verdict = judge("relative_stability?to=representation", "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert verdict.sentence == "what the last layer of 'analytic' is given cannot be seen"
