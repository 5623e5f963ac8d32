"""How outputs of each kind are read."""

import pytest
import torch
from torch import nn

from xattr_check.core.outputs import KINDS, Classes, Labels, Margin, Output, Value, output_of
from xattr_check.errors import Undefined

OUTPUTS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]], dtype=torch.float64)
TARGETS = torch.tensor([2, 1])


def test_kinds() -> None:
    assert [kind.name for kind in KINDS] == ["classes", "labels", "value", "margin"]
    assert isinstance(output_of(None), Classes)
    with pytest.raises(ValueError, match="explained='value': expected classes, labels, margin or"):
        output_of("value")


def test_probabilities() -> None:
    one = torch.exp(OUTPUTS[0, 2]) / torch.exp(OUTPUTS[0]).sum()
    assert float(Classes().probability(OUTPUTS, TARGETS)[0]) == pytest.approx(float(one))
    for kind in (Labels(), Margin()):
        assert float(kind.probability(OUTPUTS, TARGETS)[1]) == pytest.approx(1 / (1 + 2.718281828**-3))
    assert Classes().correct(OUTPUTS, TARGETS).tolist() == [False, True]
    assert Labels().correct(OUTPUTS, TARGETS).tolist() == [True, True]


def test_one_output_is_no_class_and_no_margin_of_two() -> None:
    one, first = OUTPUTS[:, :1], torch.tensor([0, 0])
    told = "explained='classes': expected two classes or more, or explained='labels' for one logit, came one"
    for read in (Classes().probability, Classes().log_probability):
        with pytest.raises(ValueError, match=told):
            read(one, first)
    with pytest.raises(ValueError, match=told):
        Classes().cross_entropy(one, one)
    for read in (Margin().probability, Margin().log_probability):
        with pytest.raises(
            ValueError, match="explained='margin': expected −z and z, as the model of a Subject"
        ):
            read(one, first)
    assert torch.equal(Labels().probability(one, first), one[:, 0].sigmoid())


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_values_are_read_by_those_of_all_inputs(unit: float) -> None:
    every = unit * torch.randn(4000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value = Value.of(every)
    places = value.probability(every, torch.zeros(4000, dtype=torch.int64))
    # Of normal values the places are even, whatever the unit, and in the order of the values.
    assert places.sort().values[[400, 2000, 3600]].tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    assert torch.equal(places.argsort(), every[:, 0].argsort())
    assert value.effect(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).tolist() == [0.5, 0.5]
    with pytest.raises(Undefined):
        value.correct(every, torch.zeros(4000, dtype=torch.int64))


def test_losses_are_those_of_torch() -> None:
    assert float(Classes().loss(OUTPUTS, TARGETS)) == pytest.approx(
        float(nn.functional.cross_entropy(OUTPUTS, TARGETS, reduction="sum"))
    )
    logit = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    both, bits = torch.cat([-logit, logit], 1), torch.tensor([0, 1])
    slow = nn.functional.binary_cross_entropy_with_logits(logit[:, 0], bits.double(), reduction="sum")
    assert float(Margin().loss(both, bits)) == pytest.approx(float(slow))


def test_cross_entropies_are_sums_over_targets() -> None:
    wanted = OUTPUTS.flip(0)
    slow = -(wanted.softmax(1) * OUTPUTS.log_softmax(1)).sum(1)
    assert torch.allclose(Classes().cross_entropy(OUTPUTS, wanted), slow)
    assert torch.allclose(Output.cross_entropy(Classes(), OUTPUTS, wanted), slow)
    own = torch.distributions.Bernoulli(logits=OUTPUTS)
    share = wanted.sigmoid()
    each = share * own.log_prob(torch.ones(())) + (1 - share) * own.log_prob(torch.zeros(()))
    assert torch.allclose(Labels().cross_entropy(OUTPUTS, wanted), -each.sum(1))
    both, others = (torch.stack([-one, one], 1) for one in (OUTPUTS[:, 0], wanted[:, 0]))
    assert torch.allclose(Margin().cross_entropy(both, others), -each[:, 0])
    with pytest.raises(Undefined, match="a value has no probabilities, and no cross entropy"):
        Value.of(OUTPUTS).cross_entropy(OUTPUTS, wanted)
