"""Reference methods on inputs of every layout."""

import contextlib
import inspect
import itertools
from typing import Any

import pytest
import torch
from networks import OF_ATTENTION, Attending, settled
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject
from xattr_check.core.layouts import Beside, layout_of
from xattr_check.core.method import Method
from xattr_check.errors import Declined
from xattr_methods import edges, gradcam, occlusion, rise

SHAPES = {
    "columns": (6,),
    "embeddings": (5, 3),
    "signal": (3, 8),
    "image": (2, 4, 6),
    "volume": (2, 4, 4, 4),
}
CONVOLUTIONS = {"signal": nn.Conv1d, "image": nn.Conv2d, "volume": nn.Conv3d}
FEW = {
    "cells": 2, "iterations": 2, "masks": 20, "steps": 3, "levels": 2, "samples": 8,
    "permutations": 2, "copies": 2, "epochs": 1, "feature_steps": 2,
}  # fmt: skip
EXCEPT = {
    "kernel_shap": {"samples": 300},
    "lime": {"samples": 20},
    "occlusion": {"cells": None},
    "pathway_gradient": {"sparsity": 0.5},
}


class Pooled(nn.Module):
    """A convolution, and the mean of what it finds."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.read = CONVOLUTIONS[kind](SHAPES[kind][0], 4, 3, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.relu(self.read(inputs)).flatten(2).mean(2))
        return logits


def case(kind: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Flatten(), nn.Linear(torch.Size(SHAPES[kind]).numel(), 5), nn.ReLU(), nn.Linear(5, 3)
    )
    model = (Pooled(kind) if kind in CONVOLUTIONS else dense).double().eval()
    return model, torch.randn(2, *SHAPES[kind], dtype=torch.float64), torch.tensor([0, 2])


def offered(subject: Subject) -> list[Method]:
    """The reference methods that a subject has all for."""
    return [method for method in xattr_check.methods().values() if method.needs <= subject.offers]


def quick(method: Method, kind: str) -> dict[str, Any]:
    """Parameters with which a method is quick."""
    known = inspect.signature(method.function).parameters
    given: dict[str, Any] = {key: value for key, value in FEW.items() if key in known}
    if "data" in known:
        given["data"] = torch.randn(12, *SHAPES[kind], dtype=torch.float64)
    return given | EXCEPT.get(method.name, {})


@pytest.mark.parametrize("kind", SHAPES)
def test_every_method_that_serves_a_layout_has_maps_of_it(kind: str) -> None:
    model, inputs, targets = case(kind)
    subject = Subject("s", model, inputs, targets, layout=kind)
    wrong, served, declined = [], set(), set()
    for method in offered(subject):
        served.add(method.name)
        try:
            maps = method.bind(subject)(model, inputs, targets, **quick(method, kind))
        except Declined:
            declined.add(method.name)
            continue
        if tuple(maps.shape[1:]) not in subject.layout.map_shapes or not bool(torch.isfinite(maps).all()):
            wrong.append((method.name, tuple(maps.shape)))
    assert wrong == []
    # A bottleneck needs a layer whose cells or tokens are those of the inputs.
    coarse = set() if kind in CONVOLUTIONS else {"iba", "input_iba", "inverse_iba", "multilayer_iba"}
    assert declined == set(OF_ATTENTION) | coarse
    general = {
        "occlusion",
        "rise",
        "lime",
        "kernel_shap",
        "shapley",
        "gradient",
        "integrated_gradients",
        "lrp",
    }
    near = {"edges", "center", "gradcam", "cam", "guided_gradcam"} if kind in CONVOLUTIONS else set()
    assert general | near <= served


@pytest.mark.parametrize("kind", [*SHAPES, "tokens", "patches"])
def test_no_inputs_have_no_maps(kind: str) -> None:
    if kind == "tokens":  # with rows of other inputs
        subject = xattr_check.load_subject("reviews")
    else:
        patched = settled(Attending(2, patch=2)), *case("image")[1:]
        model, inputs, targets = case(kind) if kind in SHAPES else patched
        subject = Subject("s", model, inputs, targets, layout=kind if kind in SHAPES else "image")
    none, wrong = (subject.inputs[:0], subject.targets[:0]), []
    for method in offered(subject):
        given = quick(method, kind) if kind in SHAPES else {}
        with contextlib.suppress(Declined):
            maps = method.bind(subject)(subject.model, *none, **given)
            if tuple(maps.shape) not in [(0, *shape) for shape in subject.layout.map_shapes]:
                wrong.append((method.name, tuple(maps.shape)))
    assert wrong == []


@pytest.mark.parametrize("kind", SHAPES)
def test_occlusion_of_single_features_by_a_loop(kind: str) -> None:
    model, inputs, targets = case(kind)
    layout = layout_of(inputs, kind)
    found = layout.scores(occlusion(model, inputs, targets, window=1, stride=1, layout=kind))
    with torch.no_grad():
        for number, place in enumerate(itertools.product(*map(range, layout.spatial))):
            hidden = torch.zeros(layout.spatial, dtype=torch.bool)
            hidden[place] = True
            without = inputs.masked_fill(layout.expand(hidden[None]), 0)
            drop = (model(inputs) - model(without)).gather(1, targets[:, None]).squeeze(1)
            torch.testing.assert_close(found[:, number], drop)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_gradcam_by_hand(kind: str) -> None:
    model, inputs, targets = case(kind)
    assert isinstance(model, Pooled)
    activation = model.relu(model.read(inputs))
    weights = model.head.weight[targets]
    cells = torch.einsum("nc...,nc->n...", activation, weights).clamp_min(0)[:, None]
    cells = cells / activation[0, 0].numel()
    torch.testing.assert_close(gradcam(model, inputs, targets, layout=kind), cells.detach())


@pytest.mark.parametrize("kind", ["signal", "volume"])
def test_edges_are_where_neighbours_differ(kind: str) -> None:
    inputs = torch.zeros(1, *SHAPES[kind])
    half = SHAPES[kind][-1] // 2
    inputs[..., half:] = 1
    found = edges(nn.Identity(), inputs, torch.tensor([0]), layout=kind)
    seen = (found > 0).flatten(0, -2).any(0)
    assert seen.nonzero().flatten().tolist() == [half - 1, half]


def test_rise_finds_the_one_time_that_counts() -> None:
    class Third(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([inputs[:, 0, 20], -inputs[:, 0, 20]], 1)

    inputs = torch.ones(1, 2, 32)
    layout = layout_of(inputs, "signal")
    assert isinstance(layout, Beside)
    found = rise(Third(), inputs, torch.tensor([0]), output="logit", centred=True, masks=500, layout="signal")
    assert abs(int(layout.scores(found).argmax()) - 20) <= 2
