"""Maps of other outputs, against SciPy, and where they say nothing."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from scipy.stats import spearmanr
from subjects import columns, images
from torch import Tensor, nn

from xattr_check import Subject, load_subject
from xattr_check.core.run import Run
from xattr_methods import input_x_gradient


@pytest.mark.parametrize("make", [columns, images])
def test_three_outputs_by_hand(make: Callable[[], Subject], run: Run) -> None:
    subject = make()
    found, draw = measured("random_logit", "xattr:input_x_gradient", subject, run)
    outputs = subject.model(draw.inputs).shape[1]
    keys = torch.rand(len(draw.inputs), outputs - 1, generator=draw.generator("outputs"))
    for row in range(len(draw.inputs)):
        others = keys[row].argsort()[:2] + 1 + draw.targets[row]
        targets = [int(draw.targets[row]), *(int(other) % outputs for other in others)]
        assert len(set(targets)) == 3
        maps = [
            input_x_gradient(subject.model, draw.inputs[row : row + 1], torch.tensor([target]))
            for target in targets
        ]
        scores = [subject.layout.scores(one)[0].numpy() for one in maps]
        alike = [float(spearmanr(*pair).statistic) for pair in combinations(scores, 2)]
        assert found.evidence["likeness"][row].tolist() == pytest.approx(alike, abs=2e-3)
        assert float(found.samples[row]) == pytest.approx(1 - max(0.0, *alike), abs=2e-3)


@pytest.mark.parametrize("name", ["analytic", "columns"])
def test_a_class_that_was_not_asked_for(name: str, run: Run) -> None:
    subject = load_subject(name)
    assert judge("random_logit", "xattr:integrated_gradients", subject, run).status == "pass"
    assert judge("random_logit", broken("mostly_the_predicted"), subject, run).status == "fail"
    assert judge("random_logit", "xattr:constant", subject, run).status == "fail"


def test_the_sign_of_a_logit_is_no_other_map(run: Run) -> None:
    """Of three logits two have one sign, and so have two of three maps that differ by them alone."""

    def scaled(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = model(inputs) - model(inputs).mean(1, keepdim=True)
        found: Tensor = inputs * logits.gather(1, targets[:, None])
        return found

    subject = columns(count=64)
    found, _ = measured("random_logit", scaled, subject, run)
    assert float(found.evidence["likeness"].amin()) == pytest.approx(-1)
    assert found.samples.tolist() == pytest.approx([0.0] * 32, abs=1e-9)


def test_magnitudes_do_not_tell_two_outputs_apart(run: Run) -> None:
    def magnitude(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return input_x_gradient(model, inputs, targets).abs()

    verdict = judge("random_logit", magnitude, load_subject("columns"), run)
    assert verdict.status == "not_applicable"
    assert verdict.sentence == (
        "maps of the method are nowhere negative, so that what speaks for one output looks as "
        "what speaks against another; those of different outputs are alike to 1.00"
    )


def test_a_model_of_one_output(run: Run) -> None:
    subject = columns()
    one = nn.Sequential(subject.model, nn.Linear(3, 1))
    alone = replace(subject, model=one, targets=torch.zeros(12).long(), output="labels")
    verdict = judge("random_logit", "xattr:gradient", alone, run)
    assert verdict.status == "not_applicable"
    assert verdict.sentence == ("the model of 'columns' has one output, and so there is one target")


def test_outputs_that_are_explained_alike_say_nothing(run: Run) -> None:
    subject = columns(count=64)
    with torch.no_grad():
        weight = subject.model.weight
        weight[:] = weight[:1] * torch.tensor([[1.0], [2.0], [3.0]])
    found = judge("random_logit", "xattr:input_x_gradient", subject, run)
    assert found.status == "invalid"
    assert "the reference 'gradient' comes to 0" in found.sentence
