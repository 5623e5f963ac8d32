"""The digest of a model follows the model, and is not computed anew where nothing changed."""

import gc
import types
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xattr_check.core import identity
from xattr_check.core.identity import Identity
from xattr_check.core.run import Run
from xattr_check.storage.digest import digest_model

EXAMPLE = torch.ones(1, 3)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests that were computed."""
    found: list[str] = []

    def counted(model: nn.Module, read: str) -> str:
        found.append(digest_model(model, read))
        return found[-1]

    monkeypatch.setattr(identity, "digest_model", counted)
    return found


def write(model: nn.Sequential) -> None:
    with torch.no_grad():
        model[0].weight.add_(1)  # type: ignore[operator, union-attr]


def replace(model: nn.Sequential) -> None:
    model[0].weight = nn.Parameter(torch.zeros(2, 3))  # type: ignore[assignment]


def replace_data(model: nn.Sequential) -> None:
    model[0].weight.data = torch.zeros(2, 3)  # type: ignore[assignment, union-attr]


def set_attribute(model: nn.Sequential) -> None:
    model[1].negative_slope = 0.5  # type: ignore[assignment]


def add_module(model: nn.Sequential) -> None:
    model.append(nn.Tanh())


@pytest.mark.parametrize("change", [write, replace, replace_data, set_attribute, add_module])
def test_the_digest_follows_the_model(change: Callable[[nn.Sequential], None], computed: list[str]) -> None:
    model, found = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU()), Identity()
    before = found.digest(model, EXAMPLE)
    assert found.digest(model, EXAMPLE) == before
    assert len(computed) == 1
    change(model)
    after = found.digest(model, EXAMPLE)
    assert after == digest_model(model) != before
    assert len(computed) == 2


def test_what_lies_deeper_is_looked_at_as_well(computed: list[str]) -> None:
    model, found = nn.Linear(3, 2), Identity()
    model.options = {"scales": [1.0]}  # type: ignore[assignment]
    before = found.digest(model)
    assert found.digest(model) == before
    model.options["scales"].append(2.0)  # type: ignore[index, operator, union-attr]
    assert found.digest(model) != before
    assert len(computed) == 2


def test_a_model_is_freed_that_nobody_else_holds() -> None:
    """Its own forward holds the model."""
    run = Run(store=None)  # type: ignore[arg-type]
    model = nn.Linear(3, 2)
    model.forward = types.MethodType(nn.Linear.forward, model)  # type: ignore[method-assign]
    run.model_digest(model)
    run.model_digest(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_what_is_put_back_is_the_same_model(computed: list[str]) -> None:
    model, found = nn.Linear(3, 2), Identity()
    before = found.digest(model)
    with torch.no_grad():
        kept = model.weight.clone()
        model.weight.zero_()
        model.weight.copy_(kept)
    assert found.digest(model) == before
    assert len(computed) == 2


class Keeping(nn.Linear):
    """A layer that counts its calls and keeps its outputs."""

    calls = 0
    last: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.last = super().forward(inputs)
        return self.last


def test_what_a_model_changes_itself_is_no_part_of_it(computed: list[str]) -> None:
    model, found = Keeping(3, 2), Identity()
    before = found.digest(model, EXAMPLE)
    for _ in range(3):
        model(2 * EXAMPLE)
        assert found.digest(model, EXAMPLE) == before
    assert len(computed) == 1
    model.scale = 2.0  # type: ignore[assignment]
    assert found.digest(model, EXAMPLE) != before
