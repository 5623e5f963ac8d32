from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from xattr_check import AtLeast, AtMost, Draw, Explainer, Measurement, Subject, axiom, checks, load_method
from xattr_check.battery.baseline import from_zero
from xattr_check.battery.item import Item
from xattr_check.core.run import Run
from xattr_check.perturbation.fills import Fill

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def table(mean: float, sharpness: float = 1.0) -> Subject:
    """Sixty-four rows of eight columns about a mean, with a network of tanh that knows it."""
    torch.manual_seed(0)
    inputs = mean + torch.randn(64, 8)
    network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2)).eval()
    with torch.no_grad():
        network[0].bias -= mean * network[0].weight.sum(1)
        network[2].weight *= sharpness
        targets = network(inputs).argmax(1)
    return Subject("table", network, inputs, targets)


def integrated(baseline: float, factor: float = 1.0) -> Explain:
    """Integrated gradients by two hundred midpoints, one after the other."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros_like(inputs)
        for step in range(200):
            point = baseline + (step + 0.5) / 200 * (inputs - baseline)
            point.requires_grad_()
            (gradient,) = torch.autograd.grad(model(point).gather(1, targets[:, None]).sum(), point)
            total += gradient / 200
        return factor * (inputs - baseline) * total

    return explain


def noise(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))


def started(explain: Explain, subject: Subject, run: Run) -> bool:
    draw = next(iter(run.draws("it", subject, 32)))
    return from_zero(Explainer.of(load_method(explain), subject, run), subject, draw)


def test_maps_from_a_baseline_of_zero_are_told_from_others(run: Run) -> None:
    subject = table(3.0)
    assert started(integrated(0.0), subject, run)
    others = [integrated(3.0), integrated(0.0, factor=0.5), integrated(0.0, factor=-1.0), noise]
    assert not any(started(one, subject, run) for one in others)


def test_of_data_about_zero_nothing_is_told(run: Run) -> None:
    assert not started(integrated(0.0), table(0.0), run)


@pytest.mark.parametrize(
    ("parameters", "end"),
    [
        (
            {},
            "; its maps sum to what the output changes by from zero, and what is removed here becomes the "
            "data's mean: give the method that mean for its baseline, or ask removed?fill=zero",
        ),
        ({"fill": "zero"}, "(gate ≤ 0.5)"),
    ],
)
def test_a_failure_tells_of_the_other_baseline(parameters: dict[str, str], end: str, run: Run) -> None:
    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5))
    def removed(explainer: Explainer, subject: Subject, draw: Draw, *, fill: Fill = "mean") -> Measurement:
        return Measurement(torch.ones(len(draw.inputs)).double())

    check = removed.with_parameters(parameters) if parameters else removed
    subject = table(3.0)

    def verdict(explain: Explain) -> str:
        return Item(load_method(explain), check, subject).judge(run).sentence

    assert verdict(integrated(0.0)).endswith(end)
    assert verdict(noise).endswith("(gate ≤ 0.5)")


def test_a_method_with_a_baseline_of_its_own_is_told_which(run: Run) -> None:
    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5))
    def removed(explainer: Explainer, subject: Subject, draw: Draw, *, fill: Fill = "mean") -> Measurement:
        return Measurement(torch.ones(len(draw.inputs)).double())

    def verdict(spec: str, mean: float) -> str:
        return Item(load_method(spec), removed, table(mean)).judge(run).sentence

    told = "; its baseline is zero, and what is removed here becomes the data's mean: ask "
    assert verdict("xattr:occlusion", 3.0).endswith(
        f"{told}xattr:occlusion?baseline=mean, or removed?fill=zero"
    )
    assert verdict("xattr:shapley?permutations=4", 3.0).endswith(
        f"{told}xattr:shapley?permutations=4&baseline=mean, or removed?fill=zero"
    )
    for spec, mean in (("xattr:occlusion", 0.0), ("xattr:occlusion?baseline=mean", 3.0)):
        assert verdict(spec, mean).endswith("(gate ≤ 0.5)")


def test_the_mean_is_a_baseline_by_its_name() -> None:
    subject = table(3.0)
    model, inputs, targets = subject.model, subject.inputs[:4], subject.targets[:4]
    for name in ("integrated_gradients", "occlusion", "deeplift"):
        found = load_method(f"xattr:{name}?baseline=mean").bind(subject)(model, inputs, targets)
        plain = load_method(f"xattr:{name}").function(model, inputs, targets, baseline=subject.mean)
        assert torch.allclose(found, plain, atol=1e-6)


def test_what_a_baseline_of_the_user_is_is_not_known(run: Run) -> None:
    """None may stand for the mean, and nothing can be given by a spec to a function that has none."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: float | None = None) -> Tensor:
        return integrated(3.0)(model, inputs, targets)

    @axiom(statement="It holds.", family="synthetic", gate=AtMost(0.5))
    def removed(explainer: Explainer, subject: Subject, draw: Draw, *, fill: Fill = "mean") -> Measurement:
        return Measurement(torch.ones(len(draw.inputs)).double())

    assert Item(load_method(explain), removed, table(3.0)).judge(run).sentence.endswith("(gate ≤ 0.5)")


def test_a_canvas_of_columns_is_their_mean(run: Run) -> None:
    """By a bound that nothing reaches."""
    check = replace(checks()["insertion"], gate=AtLeast(1.1))
    verdict = Item(load_method("xattr:occlusion"), check, table(3.0, 8.0)).judge(run)
    assert verdict.sentence.endswith("ask xattr:occlusion?baseline=mean, or insertion?fill=zero")
