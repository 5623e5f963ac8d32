"""Attacks on networks whose worst input is known."""

import pytest
import torch
from torch import nn

from xattr_fixtures._attack import attacked, projected


def test_a_linear_network_is_attacked_against_its_weights():
    """Of two classes, the worst input goes the whole radius along the difference of their weights."""
    model = nn.Linear(6, 2, bias=False).double()
    inputs, labels = torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    found = attacked(model, inputs, labels, radius=0.5, steps=3)
    away = model.weight[1 - labels] - model.weight[labels]
    torch.testing.assert_close(found, inputs + 0.5 * away / away.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("seed", [None, 0])
def test_no_input_leaves_the_radius(seed):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    inputs, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    found = attacked(model, inputs, labels, radius=0.3, steps=4, seed=seed)
    assert ((found - inputs).flatten(1).norm(dim=1) <= 0.3 + 1e-6).all()
    loss = nn.functional.cross_entropy
    assert loss(model(found), labels) > loss(model(inputs), labels)


def test_the_mode_of_the_network_stays_and_its_statistics_too():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).train()
    before = model[1].running_mean.clone()
    attacked(model, torch.randn(2, 3, 4, 4), torch.tensor([0, 1]), radius=1.0, steps=2)
    assert model.training
    assert torch.equal(model[1].running_mean, before)


def test_what_is_short_enough_stays():
    values = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(projected(values, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
