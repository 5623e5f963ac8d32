"""Which weights reach the outputs, in which order, however modules hold them."""

import warnings
from collections.abc import Callable

import pytest
import torch
from subjects import TinyNetwork
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from xattr_check import Undefined
from xattr_check.networks.layers import copied, layers
from xattr_check.networks.randomize import randomized


class OutOfOrder(nn.Module):
    """Modules are called in another order than they are registered in; one is called for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.unused = nn.Linear(3, 3)
        self.aside = nn.Linear(4, 2)
        self.first = nn.Linear(3, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu()
        self.aside(hidden)
        found: Tensor = self.last(hidden)
        return found


class Owner(nn.Module):
    """Holds all weights itself, one of them in a scale that it reads as a number, and one as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.last = torch.randn(2, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.linear(inputs, self.first, self.bias).relu()
        return functional.linear(hidden * self.scale.item(), self.last)


class Adapted(nn.Module):
    """Weights that are tied, and a product of two small ones beside the first; frozen but for these."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again.weight = self.base.weight
        self.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.zeros(4, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.base(inputs) + inputs @ self.down.T @ self.up.T
        found: Tensor = self.again(hidden.relu())
        return found


class Attention(nn.Module):
    """Attention, whose projections are never called as modules, and a classifier of the mean token."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 5, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.classifier = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = inputs + self.place
        found: Tensor = self.classifier(self.attention(tokens, tokens, tokens)[0].mean(1))
        return found


def columns(hold: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(hold(nn.Linear(4, 5)), nn.ReLU(), hold(nn.Linear(5, 3)))


def normed(module: nn.Module) -> nn.Module:
    return nn.utils.weight_norm(module)  # type: ignore[no-any-return]


def frozen(model: nn.Module) -> nn.Module:
    """Frozen, and called since: what hooks compute of its weights can be copied."""
    model.requires_grad_(False)(torch.randn(1, 4))
    return model


# Models that take (n, 4), and how many layers they have.
HELD: dict[str, Callable[[], nn.Module]] = {
    "weight_norm by a hook": lambda: columns(normed),
    "weight_norm by a hook, frozen": lambda: frozen(columns(normed)),
    "spectral_norm by a hook": lambda: columns(nn.utils.spectral_norm),
    "weight_norm": lambda: columns(parametrizations.weight_norm),
    "spectral_norm": lambda: columns(parametrizations.spectral_norm),
    "orthogonal": lambda: columns(parametrizations.orthogonal),
    "pruned": lambda: columns(lambda module: prune.l1_unstructured(module, "weight", 0.5)),
    "a script": lambda: torch.jit.script(columns(lambda module: module)),
    "adapted": Adapted,
}


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_every_weight_changes_however_it_is_held(make: Callable[[], nn.Module]) -> None:
    model, inputs = make().eval(), torch.randn(9, 4)
    with torch.no_grad():
        before = model(inputs)
    found = layers(model, inputs)
    fresh = randomized(model, found, inputs, seed=0)
    state, other = model.state_dict(), fresh.state_dict()
    assert [name for name, _ in model.named_parameters() if torch.equal(state[name], other[name])] == []
    assert "0.weight_mask" not in state or not torch.equal(state["0.weight_mask"], other["0.weight_mask"])
    with torch.no_grad():
        assert torch.equal(model(inputs), before)
        assert bool(((fresh(inputs) - before).abs().mean(0) > 1e-3).all())
    for layer in found[1:]:
        part = randomized(model, [layer], inputs, seed=0).state_dict()
        assert {n for n in part if not torch.equal(part[n], state[n])} >= {*layer.weights}


def test_the_layers_are_those_of_the_function() -> None:
    torch.manual_seed(0)  # of one input in sixteen nothing is left after the ReLU, and no scale matters
    inputs = torch.randn(2, 3)
    assert [layer.name for layer in layers(OutOfOrder(), inputs)] == ["first", "last"]
    assert [layer.weights for layer in layers(Owner(), inputs)] == [
        ("scale", "bias", "first"),
        ("last",),
    ]
    found = layers(TinyNetwork().eval(), torch.randn(2, 3, 12, 12))
    assert [layer.name for layer in found] == ["conv1", "conv2", "classifier"]
    assert found[1].weights == ("norm2.bias", "norm2.weight", "conv2.bias", "conv2.weight")


def test_projections_that_no_module_is_called_for() -> None:
    found = layers(Attention().eval(), torch.randn(2, 5, 4))
    assert [layer.name for layer in found] == ["attention", "attention.out_proj", "classifier"]
    assert found[0].weights[-1] == "place"
    assert {name for layer in found for name in layer.weights} == {
        name for name, _ in Attention().named_parameters()
    }


@pytest.mark.parametrize("grad", [True, False])
def test_the_layers_do_not_depend_on_what_is_frozen(grad: bool) -> None:
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval().requires_grad_(grad)
    found = layers(nn.Sequential(encoder, nn.Flatten(), nn.Linear(20, 3)), torch.randn(2, 5, 4))
    names = ["0.self_attn", "0.self_attn.out_proj", "0.linear1", "0.linear2", "2"]
    assert [layer.name for layer in found] == names


def test_a_weight_that_is_used_twice_belongs_to_its_last_use() -> None:
    found = layers(Adapted(), torch.randn(2, 4))
    assert "base.weight" in found[-1].weights
    assert "again.weight" in found[-1].weights


class Closure(nn.Module):
    """Multiplies by weights that are none of its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        weights = torch.randn(4, 3)
        self.last = lambda hidden: hidden @ weights

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.last(self.first(inputs))
        return found


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: nn.Module = torch.ao.quantization.quantize_dynamic(columns(lambda module: module), {nn.Linear})
    return found


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            Closure,
            "the model holds weights (4, 3) that are in none of its modules",
        ),
        (
            lambda: torch.jit.freeze(torch.jit.script(columns(lambda module: module).eval())),
            "the model holds weights (5, 4) that are in none of its modules",
        ),
        (
            quantised,
            "the model holds quantised weights, in linear_dynamic",
        ),
    ],
)
def test_what_cannot_be_randomised_is_named(make: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(Undefined) as caught:
        layers(make(), torch.randn(2, 4))
    assert str(caught.value) == f"{told}, which cannot be randomised"


def test_constants_that_are_made_on_the_way_are_no_weights() -> None:
    class Sums(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs @ torch.ones(4, 2) + torch.tensor([[1.0, 2.0]])

    assert layers(Sums(), torch.randn(2, 4)) == []


def test_a_copy_shares_nothing_though_hooks_compute_its_weights() -> None:
    model = columns(normed)
    model(torch.randn(2, 4)).sum().backward()  # leaves a weight that torch does not copy
    other = copied(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert all(bool(parameter.any()) for parameter in model.parameters())
