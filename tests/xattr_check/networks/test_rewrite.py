"""Copies of a model that compute something else: what they keep, and what they leave alone."""

import copy

import pytest
import torch
from networks import Pooled, settled
from torch import Tensor, nn

from xattr_check.core.state import ModelState
from xattr_check.errors import Undefined
from xattr_check.networks.rewrite import BESIDE, Plain, Rewritten
from xattr_check.storage.digest import digest_model


def doubled(plain: Plain, inputs: Tensor, beside: nn.Module | None) -> Tensor:
    return 2 * plain(inputs) + (0 if beside is None else beside(inputs.flatten(1)))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval()


INPUTS = torch.randn(5, 6)


def test_it_computes_what_it_is_told_with_the_weights_of_the_model() -> None:
    model, beside = network(), nn.Linear(6, 3)
    found = Rewritten(model, "twice", doubled, beside)
    torch.testing.assert_close(found.model(INPUTS), 2 * model(INPUTS) + beside(INPUTS))
    assert found.model[1].weight is model[1].weight
    with torch.no_grad():
        model[1].weight.mul_(3)
    torch.testing.assert_close(found.model(INPUTS), 2 * model(INPUTS) + beside(INPUTS))


def test_the_model_is_left_alone() -> None:
    model = network()
    state, names, before = ModelState(model), set(vars(model)), digest_model(model)
    Rewritten(model, "twice", doubled, nn.Linear(6, 3)).model(INPUTS)
    assert not any(state.differences().values())
    assert (set(vars(model)), digest_model(model)) == (names, before)


def test_copies_are_told_apart_by_their_keys() -> None:
    model = network()
    keys = [digest_model(Rewritten(model, key, doubled).model) for key in ("one", "other")]
    assert len({digest_model(model), *keys}) == 3


def test_its_layers_have_their_names_and_numbers() -> None:
    model = Rewritten(network(), "twice", doubled, nn.Linear(6, 3)).model
    assert isinstance(model, nn.Sequential)
    assert isinstance(model[3], nn.Linear)
    pooled = Rewritten(Pooled(), "twice", doubled, nn.ReLU()).model
    assert isinstance(pooled, Pooled)
    assert list(pooled._modules) == [BESIDE, *Pooled()._modules]


def test_what_is_beside_it_is_found_before_and_after_a_call() -> None:
    found = Rewritten(network(), "twice", doubled, nn.Linear(6, 3)).model
    names = list(dict(found.named_modules()))
    state = ModelState(found)
    found(INPUTS)
    assert list(dict(found.named_modules())) == names
    assert BESIDE in names
    assert not any(state.differences().values())


def test_an_error_of_the_model_leaves_the_modules_in_place() -> None:
    found = Rewritten(network(), "twice", doubled, nn.Linear(6, 3)).model
    with pytest.raises(RuntimeError):
        found(torch.randn(5, 7))
    assert BESIDE in found._modules


def test_a_copy_of_the_copy_is_one_too_and_stands_alone() -> None:
    found = Rewritten(network(), "twice", doubled, nn.Linear(6, 3))
    other = copy.deepcopy(found.model)
    torch.testing.assert_close(other(INPUTS), found.model(INPUTS))
    called: list[str] = []
    for module in (other[1], other._modules[BESIDE]):
        module.register_forward_hook(lambda *_: called.append("other"))
    found.model(INPUTS)
    assert called == []
    other(INPUTS)
    assert called == ["other", "other"]


def test_gradients_pass() -> None:
    model = settled(Pooled())
    found = Rewritten(model, "twice", lambda plain, inputs, _: plain(3 * inputs)).model
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(found(inputs).sum(), inputs)
    (expected,) = torch.autograd.grad(model(3 * inputs).sum(), inputs)
    torch.testing.assert_close(slopes, expected)


def test_who_calls_only_the_layers_is_told() -> None:
    found = Rewritten(network(), "twice", doubled)
    assert isinstance(found.model, nn.Sequential)
    found.model[3](found.model[2](found.model[1](found.model[0](INPUTS))))
    assert found.bypassed
    found.model(INPUTS)
    assert not found.bypassed


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_compiled_model_is_refused() -> None:
    with pytest.raises(Undefined, match="forward function cannot be replaced"):
        Rewritten(torch.jit.trace(network(), INPUTS), "twice", doubled)
    own = network()
    own.forward = lambda inputs: inputs
    with pytest.raises(Undefined, match="forward function cannot be replaced"):
        Rewritten(own, "twice", doubled)
