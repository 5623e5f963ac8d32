"""Small networks, and what every adapter has to keep."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from xattr_check.core import adapter
from xattr_check.core.state import ModelState, generator_states

# shap has its loops compiled when they first run, which takes longer than all its tests; they say the same
# without. NUMBA_DISABLE_JIT=0 in the environment compiles them.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


class Network(nn.Module):
    """Convolutions with BatchNorm and in-place ReLUs, and a classifier: (N, 3, 8, 8) -> (N, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.last_relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.norm(self.first(inputs)))
        logits: Tensor = self.classifier(self.last_relu(self.second(hidden)).mean((2, 3)))
        return logits


class Raising(Network):
    """A network that raises on its way back."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        if logits.requires_grad:
            raise RuntimeError("no further")
        return logits


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _adapters_are_read_anew() -> Iterator[None]:
    adapter.adapters.cache_clear()
    yield
    adapter.adapters.cache_clear()


def make(dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network()
        for _ in range(5):
            model(torch.randn(32, 3, 8, 8))
        inputs = torch.randn(3, 3, 8, 8)
    return model.to(dtype).eval(), inputs.to(dtype), torch.tensor([0, 3, 1])


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    return make(torch.float32)


@pytest.fixture
def exact_images() -> tuple[nn.Module, Tensor, Tensor]:
    return make(torch.float64)


@pytest.fixture
def columns() -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()
        return model, torch.randn(3, 5, dtype=torch.float64), torch.tensor([0, 2, 1])


@pytest.fixture
def careful():
    """Calls a method, and looks after what it leaves, and at its maps of inputs alone."""

    def call(method, model, inputs, targets, tolerance=1e-4):
        model.requires_grad_(False)
        state, generators = ModelState(model), generator_states()
        given = inputs.clone()
        maps = method(model, given, targets)
        assert not any(state.differences().values())
        after = generator_states()
        assert generators[0] == after[0]
        assert torch.equal(generators[2], after[2])
        assert torch.equal(given, inputs)
        assert maps.dtype == inputs.dtype
        assert not maps.requires_grad
        assert torch.isfinite(maps).all()
        wanted = [inputs.shape] + ([(len(inputs), 1, *inputs.shape[2:])] if inputs.ndim == 4 else [])
        assert maps.shape in wanted
        alone = torch.cat([method(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(len(inputs))])
        assert (alone - maps).norm() <= tolerance * maps.norm()
        return maps

    return call


@pytest.fixture
def raising(images):
    """Has a method explain a model that raises, and looks after what is left."""
    model = Raising().eval()
    _, inputs, targets = images

    def call(method):
        state = ModelState(model)
        with pytest.raises(RuntimeError, match="no further"):
            method(model, inputs, targets)
        assert not any(state.differences().values())

    return call
