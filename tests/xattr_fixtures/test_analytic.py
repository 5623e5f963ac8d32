from itertools import chain, combinations
from math import factorial

import pytest
import torch

from xattr_check.core import registry
from xattr_fixtures import analytic as _analytic


@pytest.fixture(scope="module")
def subject():
    return registry.subjects()["analytic"]()


def output(model, inputs, targets):
    return model(inputs).gather(1, targets[:, None])[:, 0]


def gradient(model, inputs, targets):
    inputs = inputs.clone().requires_grad_()
    return torch.autograd.grad(output(model, inputs, targets).sum(), inputs)[0]


def textbook(model, inputs):
    """f from its definition: linear terms and products, in float64, without a ReLU."""
    weights = (model.outgoing @ model.mixing).double()
    bias = (model.bias + model.outgoing @ model.shift).double()
    x, pairs = inputs.double(), model.pairs.double()
    logits = bias + x @ weights.T
    for i, j in combinations(range(x.shape[1]), 2):
        logits = logits + pairs[:, i, j] * (x[:, i] * x[:, j])[:, None]
    return logits.detach()


def test_the_network_computes_the_formula_exactly_in_float32(subject):
    with torch.inference_mode():
        assert torch.equal(subject.model(subject.inputs).double(), textbook(subject.model, subject.inputs))


def test_both_sides_of_every_relu_are_met_and_no_kink(subject):
    hidden = subject.inputs @ subject.model.mixing.T + subject.model.shift
    assert ((hidden > 0).any(0) & (hidden < 0).any(0)).all()
    assert (hidden != 0).all()
    assert (subject.model.shift != 0).all()


def test_gradient_by_autograd(subject):
    assert torch.equal(gradient(subject.model, subject.inputs, subject.targets), subject.truth["gradient"])


def test_integrated_gradients_by_many_steps(subject):
    model, inputs = _float64(subject.model), subject.inputs.double()
    steps = 50
    mean = (
        sum(gradient(model, inputs * (step + 0.5) / steps, subject.targets) for step in range(steps)) / steps
    )
    torch.testing.assert_close(
        inputs * mean, subject.truth["integrated_gradients"].double(), rtol=0, atol=1e-12
    )


def test_integrated_gradients_are_complete(subject):
    with torch.inference_mode():
        change = output(subject.model, subject.inputs, subject.targets) - output(
            subject.model, torch.zeros_like(subject.inputs), subject.targets
        )
    torch.testing.assert_close(subject.truth["integrated_gradients"].sum(1), change)


def test_integrated_gradients_are_shapley_values_by_enumeration():
    columns, generator = 6, torch.Generator().manual_seed(1)
    model = _float64(_analytic.make_network(generator, columns))
    inputs = _analytic.make_inputs(4, generator, columns).double()
    targets = torch.tensor([0, 1, 2, 0])
    expected = torch.zeros_like(inputs)
    for column in range(columns):
        others = [other for other in range(columns) if other != column]
        for coalition in chain.from_iterable(combinations(others, size) for size in range(columns)):
            without = torch.zeros_like(inputs)
            without[:, coalition] = inputs[:, coalition]
            joined = without.clone()
            joined[:, column] = inputs[:, column]
            share = factorial(len(coalition)) * factorial(columns - len(coalition) - 1) / factorial(columns)
            expected[:, column] += (
                share * (output(model, joined, targets) - output(model, without, targets)).detach()
            )
    torch.testing.assert_close(model.true_integrated_gradients(inputs, targets), expected, rtol=0, atol=1e-12)


def test_dummy_columns_change_nothing(subject):
    assert subject.truth["dummy"].sum(0).nonzero().flatten().tolist() == list(_analytic.DUMMY)
    other = torch.where(subject.truth["dummy"], subject.inputs + 7, subject.inputs)
    with torch.inference_mode():
        assert torch.equal(subject.model(other), subject.model(subject.inputs))
    assert not subject.truth["gradient"][subject.truth["dummy"]].any()
    assert not subject.truth["integrated_gradients"][subject.truth["dummy"]].any()


def test_symmetric_columns_may_be_exchanged(subject):
    first, second = _analytic.SYMMETRIC
    exchanged = subject.inputs.clone()
    exchanged[:, [first, second]] = subject.inputs[:, [second, first]]
    assert (exchanged != subject.inputs).any()
    with torch.inference_mode():
        assert torch.equal(subject.model(exchanged), subject.model(subject.inputs))
    equal = subject.truth["symmetric"].any(1)
    assert equal.sum() >= 64
    for name in ("gradient", "integrated_gradients"):
        rows = subject.truth[name][equal]
        assert torch.equal(rows[:, first], rows[:, second])
        assert rows[:, first].any()


def test_every_other_column_matters(subject):
    matters = (subject.truth["integrated_gradients"] != 0).any(0)
    assert matters.tolist() == [column not in _analytic.DUMMY for column in range(_analytic.COLUMNS)]


def test_the_reference_is_the_zero_baseline(subject):
    assert torch.equal(subject.reference(3, torch.Generator()), torch.zeros(3, _analytic.COLUMNS))


def _float64(model):
    tensors = {name: value.detach().double() for name, value in model.named_parameters()}
    return _analytic.PairNetwork(**tensors)
