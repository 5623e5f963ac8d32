"""Passes and memory of a call, against what is known of it."""

import pytest
import torch
from networks import Pooled, Twice, settled
from torch import Tensor, nn

from xattr_check.networks.usage import Passes, Storages, peak_memory
from xattr_methods import gradcam, gradient, guided_gradcam, integrated_gradients, lrp, occlusion

INPUTS, TARGETS = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
MEBIBYTE = 2**20


@pytest.mark.parametrize("make", [Pooled, lambda: Twice(3)])
@pytest.mark.parametrize(
    ("method", "forwards", "backwards"),
    [
        (gradient, 1, 1),
        (lambda *given: integrated_gradients(*given, steps=7), 7, 7),
        (lambda *given: gradcam(*given, layer="first"), 1, 1),
        (lambda *given: guided_gradcam(*given, layer="first"), 2, 2),
        (lambda *given: occlusion(*given, window=4, stride=4), 5, 0),
        (lambda *given: torch.zeros_like(given[1]), 0, 0),
    ],
)
def test_passes_of_methods(make: type[nn.Module], method: object, forwards: int, backwards: int) -> None:
    model, passes = settled(make()), Passes()
    gradient(model, INPUTS, TARGETS)  # a probe of the model comes once
    occlusion(model, INPUTS, TARGETS)
    with passes.through(model):
        method(model, INPUTS, TARGETS)
    assert (passes.forwards / 4, passes.backwards / 4) == (forwards, backwards)
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_sent_back_call_by_call_counts() -> None:
    model, passes = settled(Pooled()), Passes()
    lrp(model, INPUTS, TARGETS)
    with passes.through(model):
        lrp(model, INPUTS, TARGETS)
    assert passes.forwards == 4
    assert passes.backwards >= 4


def test_counting_changes_no_map() -> None:
    model = settled(Pooled())
    with Passes().through(model):
        found = gradient(model, INPUTS, TARGETS)
    assert torch.equal(found, gradient(model, INPUTS, TARGETS))


def block(count: int = 1) -> Tensor:
    return torch.ones(count * MEBIBYTE // 4)


def test_the_peak_is_of_what_is_there_at_once() -> None:
    with Storages() as storages:
        for _ in range(5):
            block(2)
        assert (storages.now, storages.peak) == (0, 2 * MEBIBYTE)
        kept = [block(), block(3)]
        block()
    assert (storages.now, storages.peak) == (4 * MEBIBYTE, 5 * MEBIBYTE)
    assert len(kept) == 2


def test_views_and_what_was_there_before_take_nothing() -> None:
    before = block()
    with Storages() as storages:
        view = before[:10].reshape(2, 5)
        before.add_(1)
        view += 1
    assert storages.peak == 0


def test_what_a_backward_pass_keeps_counts() -> None:
    layers = nn.Sequential(nn.Sigmoid(), nn.Sigmoid(), nn.Sigmoid())
    inputs = block()
    with peak_memory(torch.device("cpu")) as without, torch.no_grad():
        layers(inputs)
    inputs.requires_grad_()
    with peak_memory(torch.device("cpu")) as found:
        layers(inputs)
    assert (without[0], found[0]) == (2 * MEBIBYTE, 3 * MEBIBYTE)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_torchs_encoder_passes_on_without_padding_is_counted() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(block, 2).eval()
    padding = torch.tensor([[False, False, False], [False, True, True]])
    passes = Passes()
    with passes.through(encoder), torch.no_grad():
        encoder(torch.randn(2, 3, 8), src_key_padding_mask=padding)
    assert passes.forwards == 2
