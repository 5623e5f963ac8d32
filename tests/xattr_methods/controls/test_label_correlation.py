import torch

from xattr_check import load_subject
from xattr_check.core.registry import controls


def test_it_is_the_correlation_with_the_target_by_a_loop():
    subject, control = load_subject("columns"), controls()["label_correlation"]
    inputs, targets = subject.inputs[:5], subject.targets[:5]
    maps = control.bind(subject)(subject.model, inputs, targets)
    values = subject.inputs.double()
    for row, target in enumerate(targets):
        for column in range(values.shape[1]):
            label = (subject.targets == target).double()
            correlation = torch.corrcoef(torch.stack([values[:, column], label]))[0, 1]
            standard = (values[row, column] - values[:, column].mean()) / values[:, column].std(correction=0)
            torch.testing.assert_close(maps[row, column].double(), correlation * standard, atol=1e-6, rtol=0)


def test_of_a_target_that_no_row_has_it_tells_nothing():
    subject, control = load_subject("analytic"), controls()["label_correlation"]
    targets = torch.full((2,), 9)
    assert not control.bind(subject)(subject.model, subject.inputs[:2], targets).any()


def test_it_is_measured_beside_methods_on_columns_alone():
    assert controls()["label_correlation"].needs <= load_subject("columns").offers
    assert not controls()["label_correlation"].needs <= load_subject("regression").offers
