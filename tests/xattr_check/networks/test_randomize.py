import copy

import pytest
import torch
from subjects import TinyNetwork, images
from torch import Tensor, nn

from xattr_check.core.state import ModelState
from xattr_check.networks.randomize import cascade, randomized, trainable_leaves


class Scale(nn.Module):
    """Own parameters without reset_parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(1, 2, 12).reshape(12, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class OutOfOrder(nn.Module):
    """Modules are called in another order than they are registered in."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.unused = nn.Linear(3, 3)
        self.first = nn.Linear(3, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.last(self.first(inputs).relu())
        return found


def test_leaves_come_in_the_order_of_the_forward_pass() -> None:
    assert trainable_leaves(OutOfOrder(), torch.randn(2, 3)) == ["first", "last"]
    subject = images()
    assert trainable_leaves(subject.model, subject.inputs) == [
        "conv1",
        "norm1",
        "conv2",
        "norm2",
        "classifier",
    ]


def deep(blocks: int) -> nn.Module:
    body = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(blocks)])
    return nn.Sequential(body, nn.Linear(4, 3))


@pytest.mark.parametrize("model", [TinyNetwork().eval(), deep(2), deep(9), nn.Sequential(nn.Linear(4, 3))])
def test_the_cascade_begins_at_the_classifier_and_covers_all(model: nn.Module) -> None:
    inputs = torch.randn(2, 3, 12, 12) if isinstance(model, TinyNetwork) else torch.randn(2, 4)
    leaves = trainable_leaves(model, inputs)
    groups = cascade(model, inputs)
    assert groups[0] == [leaves[-1]]
    assert [name for group in groups for name in group] == leaves[::-1]
    assert all(groups)
    assert len(groups) <= 8


def test_a_model_without_weights_has_no_cascade() -> None:
    assert cascade(nn.ReLU(), torch.randn(2, 3)) == []


def test_only_the_named_modules_change_and_the_original_does_not() -> None:
    subject = images()
    state = ModelState(subject.model)
    before = torch.get_rng_state()
    fresh = randomized(subject.model, ["classifier", "conv2"], subject.inputs, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(state.differences().values())
    changed = {
        name.split(".")[0]
        for (name, one), other in zip(subject.model.named_parameters(), fresh.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed == {"classifier", "conv2"}
    assert not any(module.training for module in fresh.modules())
    again = randomized(subject.model, ["classifier", "conv2"], subject.inputs, seed=0)
    other = randomized(subject.model, ["classifier", "conv2"], subject.inputs, seed=1)
    assert torch.equal(again.state_dict()["conv2.weight"], fresh.state_dict()["conv2.weight"])
    assert not torch.equal(other.state_dict()["conv2.weight"], fresh.state_dict()["conv2.weight"])


def test_a_module_that_cannot_be_reset_is_permuted() -> None:
    model = nn.Sequential(Scale(), nn.Flatten(), nn.Linear(12, 2))
    fresh = randomized(model, ["0"], torch.randn(4, 12, 1, 1), seed=0)
    before, after = model.state_dict()["0.factor"], fresh.state_dict()["0.factor"]
    assert not torch.equal(before, after)
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)


def test_statistics_of_batchnorm_are_estimated_anew() -> None:
    """Old ones would push the activations out of range, and kill the network behind them."""
    subject = images(count=40)
    blown_up = copy.deepcopy(subject.model)
    with torch.no_grad():
        blown_up.get_submodule("conv1").weight.mul_(50)  # type: ignore[operator]
        blown_up.get_submodule("norm1").running_var.mul_(2500)  # type: ignore[operator]
    fresh = randomized(blown_up, trainable_leaves(blown_up, subject.inputs), subject.inputs, seed=0)
    seen: list[Tensor] = []
    handle = fresh.get_submodule("norm1").register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        fresh(subject.inputs)
    handle.remove()
    assert seen[0].mean((0, 2, 3)).abs().max() < 0.05
    assert (seen[0].std((0, 2, 3)) - 1).abs().max() < 0.05
    norm = fresh.get_submodule("norm1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1


def test_one_input_is_too_few_for_statistics_and_does_no_harm() -> None:
    subject = images(count=1)
    fresh = randomized(subject.model, ["conv1"], subject.inputs, seed=0)
    assert torch.isfinite(fresh(subject.inputs)).all()
