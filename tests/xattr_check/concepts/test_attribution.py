"""Semantic attribution, held against closed forms and brute force."""

import pytest
import torch
from subjects import images
from torch import Tensor, nn

from xattr_check import (
    ConceptError,
    Dissection,
    SemanticAttribution,
    network_dissection,
    semantic_attribution,
)


class Behind(nn.Module):
    """Three units, which are the channels of the input, and a function of them."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.units(inputs)
        means = self.relu(hidden).mean((2, 3))
        return torch.stack(
            [2 * means[:, 0] - 3 * means[:, 1], means[:, 0] ** 2 + means[:, 1] * means[:, 2]], 1
        )


def positive(count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 8, dtype=torch.float64, generator=generator) + 0.1


def dissected(model: nn.Module, inputs: Tensor, **options: object) -> Dissection:
    masks = {"first": inputs[:, 0] > 0.9, "second": inputs[:, 1] > 0.9}
    return network_dissection(model.eval(), inputs, masks, quantile=0.1, threshold=0.3, **options)  # type: ignore[arg-type]


def attributed(target: int) -> tuple[Tensor, SemanticAttribution]:
    inputs, model = positive(), Behind()
    targets = torch.full((4,), target)
    return inputs, semantic_attribution(model, inputs, targets, dissected(model, inputs, layer="units"))


def test_contributions_to_a_linear_output() -> None:
    inputs, found = attributed(0)
    weights = torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64)[:, None, None] / 64
    torch.testing.assert_close(found.contributions, inputs * weights)
    torch.testing.assert_close(found.scores, (inputs * weights).abs().sum((2, 3)))


def test_contributions_to_a_quadratic_output() -> None:
    """m₀² + m₁ m₂: each unit has its square, or half of the product that it is part of."""
    inputs, found = attributed(1)
    means = inputs.mean((2, 3))
    shared = means[:, 1] * means[:, 2] / 2
    expected = torch.stack([means[:, 0] ** 2, shared, shared], 1)
    torch.testing.assert_close(found.contributions.sum((2, 3)), expected)


@pytest.mark.parametrize("memory", [2**29, 1])
def test_contributions_add_up_and_are_those_of_brute_force(memory: int) -> None:
    subject = images(5)
    model, inputs, targets = subject.model.double(), subject.inputs.double(), subject.targets
    dissection = dissected(model, inputs, layer="relu1")
    found = semantic_attribution(model, inputs, targets, dissection, steps=20, memory=memory)

    def behind(hidden: Tensor) -> Tensor:
        hidden = model.relu2(model.norm2(model.conv2(hidden)))
        outputs: Tensor = model.classifier(hidden.mean((2, 3)))
        return outputs.gather(1, targets[:, None])[:, 0]

    units = model.relu1(model.norm1(model.conv1(inputs))).detach()
    slopes = torch.zeros_like(units)
    for step in range(20):
        point = (units * (step + 0.5) / 20).requires_grad_()
        slopes += torch.autograd.grad(behind(point).sum(), point)[0] / 20
    torch.testing.assert_close(found.contributions, units * slopes)
    gap = behind(units) - behind(torch.zeros_like(units))
    torch.testing.assert_close(found.contributions.flatten(1).sum(1), gap, rtol=0.05, atol=0.02)


def test_units_are_named_by_their_concepts() -> None:
    _, found = attributed(0)
    assert found.names() == [["second"]] * 4
    assert found.names(2) == [["second", "first"]] * 4
    assert found.order[:, 0].tolist() == [1] * 4
    _, other = attributed(1)
    assert set(found.names(3)[0]) == {"first", "second", ""}
    assert other.names() == [["first"]] * 4


def test_maps_end_at_one_and_keep_their_sign() -> None:
    inputs, found = attributed(0)
    maps = found.maps()
    assert maps.shape == (4, 1, 8, 8)
    torch.testing.assert_close(maps, -inputs[:, 1:2] / inputs[:, 1:2].amax((2, 3), keepdim=True))
    torch.testing.assert_close(found.maps(1), inputs[:, :1] / inputs[:, :1].amax((2, 3), keepdim=True))
    assert torch.equal(found.maps(2), torch.zeros(4, 1, 8, 8, dtype=torch.float64))


def test_coarse_maps_are_enlarged() -> None:
    subject = images(5)
    dissection = dissected(subject.model, subject.inputs)
    found = semantic_attribution(subject.model, subject.inputs, subject.targets, dissection, steps=3)
    assert found.contributions.shape == (5, 12, 6, 6)
    assert found.maps().shape == (5, 1, 12, 12)
    assert not any(module._forward_hooks for module in subject.model.modules())
    assert all(parameter.grad is None for parameter in subject.model.parameters())


class Beside(nn.Module):
    """A layer whose units are computed and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        self.units(inputs)
        return inputs.mean((2, 3))


def test_mistakes_are_one_sentence() -> None:
    inputs, model = positive(), Beside()
    targets = torch.zeros(4, dtype=torch.int64)
    found = dissected(model, inputs)
    with pytest.raises(ConceptError) as raised:
        semantic_attribution(model, inputs, targets, found)
    assert str(raised.value) == (
        "layer 'units': expected one that the output depends on, came one that it does not"
    )
    with pytest.raises(ConceptError) as raised:
        semantic_attribution(model, inputs[..., 1:], targets, found)
    assert str(raised.value) == "expected inputs (N, 3, 8, 8) as were dissected, came (4, 3, 8, 7)"
    with pytest.raises(ConceptError) as raised:
        semantic_attribution(model, inputs, targets, found, steps=0)
    assert str(raised.value) == "steps=0: expected at least 1"
    with pytest.raises(ConceptError, match="expected a model in eval mode"):
        semantic_attribution(model.train(), inputs, targets, found)
