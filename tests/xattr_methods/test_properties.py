"""What holds of methods on any network, by hypothesis.

Every method of ours is held to every property; those that a property does not hold for are named with the
reason, and one that it holds for all the same is named in vain. A method that is not among `OURS` is held to
`rows alone` and to what it claims; of the other properties it is only told which it breaks.
"""

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import OF_ATTENTION, Attending, Dense, awkward, settled
from torch import Tensor, nn

import xattr_check

METHODS = {name: one for name, one in xattr_check.methods().items() if one.control is None}
# Small, and exact: all coalitions of nine cells, and no stabiliser.
FEW = {"cells": 3, "copies": 2, "epochs": 1, "feature_steps": 2, "iterations": 4, "masks": 50}
OWN: dict[str, dict[str, Any]] = {
    "lime": {"samples": 100},
    "lrp": {"epsilon": 0.0},
    "input_iba": {"steps": 4},
    "morris_sbsa": {"samples": 4},
    "multilayer_iba": {"beta": 0.01},
    "occlusion": {"cells": None},
    "sbsa": {"samples": 4},
    "sobol_sbsa": {"samples": 4},
    "xrai": {"steps": 4},
}
EXACT = {"rtol": 1e-8, "atol": 1e-12}


@dataclass(frozen=True)
class Case:
    """Two networks of one shape, inputs (N, *F) for them, and backgrounds and other data (B, *F)."""

    model: nn.Module
    other: nn.Module
    inputs: Tensor
    targets: Tensor
    background: Tensor
    data: Tensor


def made(kind: str, seed: int, name: str = "") -> Case:
    """A case of images (N, C, H, 6), columns (N, D) or tokens (N, T, E), for a method of that name."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)

        def between(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, ()))

        outputs, width = between(2, 4), between(3, 7)
        if kind == "images":
            shape: tuple[int, ...] = (between(1, 3), 2 * between(2, 4), 6)
            models = [awkward(name, shape[0], width, outputs) for _ in range(2)]
        else:
            shape = (between(2, 6),) if kind == "columns" else (between(2, 4), between(1, 3))
            models = [
                Attending(shape[1], 2 * width, outputs)
                if name in OF_ATTENTION
                else Dense(torch.Size(shape).numel(), width, outputs)
                for _ in range(2)
            ]
        inputs = torch.randn(between(1, 3), *shape, dtype=torch.float64)
        return Case(
            settled(models[0]),
            settled(models[1]),
            inputs,
            torch.randint(outputs, (len(inputs),)),
            torch.randn(3, *shape, dtype=torch.float64),
            torch.randn(12, *shape, dtype=torch.float64),
        )


def takes(name: str, parameter: str) -> bool:
    return parameter in inspect.signature(METHODS[name].function).parameters


def explain(name: str, model: nn.Module, case: Case, **parameters: Any) -> Tensor:
    """The method's map of a case for a model."""
    few = {key: value for key, value in FEW.items() if takes(name, key)}
    given = few | OWN.get(name, {}) | parameters
    if takes(name, "background"):
        given["background"] = case.background
    if takes(name, "data"):
        given["data"] = case.data
    if takes(name, "layout") and case.inputs.ndim == 3:
        given["layout"] = "embeddings"
    return METHODS[name](model, case.inputs, case.targets, **given)


Pair = tuple[Tensor, Tensor]


def rows_alone(name: str, case: Case) -> Pair:
    """The map of an input does not depend on the others of its batch."""
    rows = range(len(case.inputs))
    alone = [
        replace(case, inputs=case.inputs[row : row + 1], targets=case.targets[row : row + 1]) for row in rows
    ]
    return explain(name, case.model, case), torch.cat([explain(name, case.model, one) for one in alone])


# Of the map in the scale of the logits, where it is not one.
DEGREES = {
    "attention": 0,
    "attention_rollout": 0,
    "excitation_backprop": 0,
    "fullgrad": 0,
    "guided_gradcam": 2,
    "smoothgrad_squared": 2,
    "sbsa": 0,
    "sobol_sbsa": 0,
    "vargrad": 2,
}


def scale(name: str, case: Case) -> Pair:
    """The map grows as the logits do."""
    scaled = copy.deepcopy(case.model)
    with torch.no_grad():
        scaled.classifier.weight *= 2.5
        scaled.classifier.bias *= 2.5
    wanted = 2.5 ** DEGREES.get(name, 1) * explain(name, case.model, case)
    return explain(name, scaled, case), wanted


class Sum(nn.Module):
    def __init__(self, one: nn.Module, other: nn.Module, factor: float) -> None:
        super().__init__()
        self.one, self.other, self.factor = one, other, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(inputs) + self.factor * self.other(inputs)


def linearity(name: str, case: Case) -> Pair:
    """The map of a sum of networks, with positive factors, is the sum of their maps."""
    wanted = explain(name, case.model, case) + 1.5 * explain(name, case.other, case)
    return explain(name, Sum(case.model, case.other, 1.5), case), wanted


class Picking(nn.Module):
    """A network of some places of the inputs, in some order, along one of their dimensions."""

    def __init__(self, network: nn.Module, places: Tensor, dimension: int = 1) -> None:
        super().__init__()
        self.network, self.dimension = network, dimension
        self.register_buffer("places", places)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs.index_select(self.dimension, self.places))


def permutation(name: str, case: Case) -> Pair:
    """Columns, tokens or channels in another order have the same map in that order."""
    order = torch.randperm(case.inputs.shape[1], generator=torch.Generator().manual_seed(0))
    moved = replace(
        case, inputs=case.inputs[:, order], background=case.background[:, order], data=case.data[:, order]
    )
    found = explain(name, Picking(case.model, order.argsort()), moved)
    wanted = explain(name, case.model, case)
    return found, wanted if wanted.ndim == 4 and wanted.shape[1] == 1 else wanted[:, order]


def mirror(name: str, case: Case) -> Pair:
    """A mirrored network has the mirrored map of the mirrored image."""
    model = copy.deepcopy(case.model)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(3)
    seen = replace(
        case,
        model=model,
        inputs=case.inputs.flip(3),
        background=case.background.flip(3),
        data=case.data.flip(3),
    )
    return explain(name, model, seen), explain(name, case.model, case).flip(3)


def dummy(name: str, case: Case) -> Pair:
    """Columns, tokens or image columns that the network does not see have no attribution."""
    dimension = 3 if case.inputs.ndim == 4 else 1
    places = torch.arange(case.inputs.shape[dimension])

    def with_more(values: Tensor) -> Tensor:
        more = values.roll(1, dimension).narrow(dimension, 0, 2 if dimension == 3 else 1)
        return torch.cat([values, more + 1], dimension)

    more = {key: with_more(getattr(case, key)) for key in ("inputs", "background", "data")}
    wider = replace(case, **more)
    single = {"regions": "single"} if takes(name, "regions") else {}
    found = explain(name, Picking(case.model, places, dimension), wider, **single)
    unseen = found.narrow(dimension, len(places), found.shape[dimension] - len(places))
    return unseen, torch.zeros_like(unseen)


IMAGES, SEQUENCES = ["images"], ["columns", "tokens"]
PROPERTIES: dict[str, tuple[Callable[[str, Case], Pair], list[str]]] = {
    "rows alone": (rows_alone, IMAGES + SEQUENCES),
    "scale": (scale, IMAGES + SEQUENCES),
    "linearity": (linearity, IMAGES + SEQUENCES),
    "channels": (permutation, IMAGES),
    "permutation": (permutation, SEQUENCES),
    "mirror": (mirror, IMAGES),
    "dummy pixels": (dummy, IMAGES),
    "dummy": (dummy, SEQUENCES),
}
NOISE = dict.fromkeys(
    ["smoothgrad", "smoothgrad_squared", "vargrad", "smooth_integrated_gradients"],
    "noise is drawn place by place",
)
DESIGNED = dict.fromkeys(["morris_sbsa", "sbsa", "sobol_sbsa"], "gains are drawn region by region")
DRAWN = dict.fromkeys(["lime", "rise"], "what is present together is drawn")
OPTIMISED = dict.fromkeys(
    ["extremal_perturbation", "meaningful_perturbation"], "the output is weighed against the mask's own size"
)
SQUARED = dict.fromkeys(["smoothgrad_squared", "vargrad"], "gradients are squared")
ONE_LAYER = dict.fromkeys(["cam", "gradcam", "gradcam_plus_plus", "guided_gradcam"], "one layer is looked at")
COARSE = dict.fromkeys(["cam", "gradcam", "gradcam_plus_plus", "fullgrad"], "cells are enlarged")
ATTENDED = dict.fromkeys(OF_ATTENTION, "tokens are taken to be all features, in their order")
BOTTLENECKS = dict.fromkeys(
    ["iba", "input_iba", "inverse_iba", "multilayer_iba", "regression_iba"],
    "noise is drawn for each input by its content, and bits are weighed against a loss",
)
# Methods that a property does not hold for, and why.
EXCEPT: dict[str, dict[str, str]] = {
    "rows alone": {},
    "scale": OPTIMISED
    | BOTTLENECKS
    | {
        "chefer_relevance": "products of one layer, and of two, are added",
        "gradcam_plus_plus": "g³ / (2 g² + g³ ΣA) has no degree",
        "rise": "probabilities",
    },
    "linearity": OPTIMISED
    | BOTTLENECKS
    | SQUARED
    | ONE_LAYER
    | dict.fromkeys(OF_ATTENTION, "layers of two networks are taken to follow each other")
    | {
        "deep_taylor": "of a sum, all goes to what is positive",
        "excitation_backprop": "of a sum, all goes to what is positive",
        "fullgrad": "every layer is rescaled",
        "morris_sbsa": "magnitudes of effects",
        "pathway_gradient": "neurons of both networks compete",
        "rise": "probabilities",
        "sbsa": "shares of a variance",
        "sobol_sbsa": "shares of a variance",
        "xrai": "segments are taken in the order of their attribution",
    },
    "channels": NOISE | BOTTLENECKS,
    "permutation": NOISE | DRAWN | DESIGNED | ATTENDED,
    "mirror": NOISE
    | BOTTLENECKS
    | DRAWN
    | DESIGNED
    | {
        "extremal_perturbation": "all cells start alike, and the last of equals are drawn to one",
        "meaningful_perturbation": "slopes of the total variation are taken to the right and down alone",
    },
    "dummy pixels": DRAWN
    | BOTTLENECKS
    | OPTIMISED
    | COARSE
    | ATTENDED
    | {"kernel_shap": "coalitions of so many pixels are drawn", "xrai": "segments have one attribution"},
    "dummy": DRAWN | ATTENDED,
}
OURS = {
    *BOTTLENECKS,
    "attention", "attention_rollout", "cam", "chefer_relevance", "deconvnet", "deep_taylor",
    "deeplift", "deepshap", "excitation_backprop",
    "expected_gradients", "extremal_perturbation", "fullgrad", "gradcam", "gradcam_plus_plus",
    "gradient", "guided_backprop", "guided_gradcam", "input_x_gradient", "integrated_gradients",
    "kernel_shap", "lime", "lrp", "meaningful_perturbation", "morris_sbsa", "occlusion",
    "pathway_gradient", "rise", "sbsa",
    "shapley", "smooth_integrated_gradients", "smoothgrad", "smoothgrad_squared", "sobol_sbsa",
    "vargrad", "xrai",
}  # fmt: skip
# Properties that are also claims; the check asks more, or the same of one network.
CLAIMED = {"linearity": "linearity", "dummy": "dummy", "dummy pixels": "dummy"}


def kinds_of(what: str, name: str) -> list[str]:
    """The kinds of inputs that a property is about and a method takes."""
    fewer = {"columns"} if name in OF_ATTENTION else set()
    if METHODS[name].needs & {"image", "neighbours"} or name in BOTTLENECKS:
        fewer = set(SEQUENCES)
    return [kind for kind in PROPERTIES[what][1] if kind not in fewer]


def held() -> Iterator[object]:
    """Each property with each method that it holds for, or may hold for."""
    for what, name in product(PROPERTIES, METHODS):
        if name not in EXCEPT[what] and kinds_of(what, name):
            sure = name in OURS or what == "rows alone" or CLAIMED.get(what) in METHODS[name].claims
            told = pytest.mark.xfail(
                reason=f"{name} is not known to keep {what!r}: add it to OURS or EXCEPT", strict=False
            )
            yield pytest.param(what, name, marks=[] if sure else [told])


@pytest.mark.parametrize(("what", "name"), list(held()))
@settings(max_examples=4, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**31), choice=st.integers(0, 2))
def test_the_property_holds(what: str, name: str, seed: int, choice: int) -> None:
    kinds = kinds_of(what, name)
    found, wanted = PROPERTIES[what][0](name, made(kinds[choice % len(kinds)], seed, name))
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize(("what", "name"), [(what, name) for what in PROPERTIES for name in EXCEPT[what]])
def test_no_method_is_excepted_in_vain(what: str, name: str) -> None:
    def holds(seed: int) -> bool:
        try:
            found, wanted = PROPERTIES[what][0](name, made(kinds_of(what, name)[0], seed, name))
        except ValueError:  # refused
            return False
        return torch.allclose(found, wanted, **EXACT)

    assert not all(holds(seed) for seed in range(20))


def along(case: Case, start: Tensor, steps: int) -> Tensor:
    """(N, steps + 1): the target's logit on the line from start to each input."""
    shares = torch.linspace(0, 1, steps + 1, dtype=torch.float64).reshape(-1, *[1] * case.inputs.ndim)
    line = torch.lerp(start, case.inputs, shares).flatten(0, 1)
    with torch.no_grad():
        logits = case.model(line).unflatten(0, (steps + 1, -1))
    return logits.gather(2, case.targets.expand(steps + 1, -1)[..., None]).squeeze(2).T


def midpoint_error(case: Case, start: Tensor) -> Tensor:
    """(N,): half a step times the variation of the slope, which bounds the error of 50 midpoints."""
    slopes = along(case, start, 5000).diff() * 5000
    return slopes.diff().abs().sum(1) / (2 * 50)


# What a claim allows beside rounding.
ALLOWED: dict[str, Callable[[Case, Tensor], Tensor]] = {"integrated_gradients": midpoint_error}
CLAIMS = sorted((claim, name) for name, method in METHODS.items() for claim in method.claims)


def test_every_claim_is_one_that_a_check_holds_methods_to() -> None:
    """The others than completeness are tested in tests/xattr_axioms/exact/test_exact.py."""
    claimed = {name for name, check in xattr_check.checks().items() if check.claimed}
    assert {claim for claim, _ in CLAIMS} <= claimed
    assert sum(claim == "completeness" for claim, _ in CLAIMS) >= 5


@pytest.mark.parametrize("name", [name for claim, name in CLAIMS if claim == "completeness"])
@settings(max_examples=12, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(IMAGES + SEQUENCES))
def test_maps_are_complete_where_they_claim_to_be(name: str, seed: int, kind: str) -> None:
    """They sum to f(x) − f(x′), or to f(x) − mean f(x′) over a background, or else to f(x) − f(0)."""
    case = made(kind, seed)
    starts = torch.zeros_like(case.background[:1])
    given = {}
    if takes(name, "background"):
        starts = case.background
    elif takes(name, "baseline"):
        starts = given["baseline"] = case.background[:1]
    with torch.no_grad():
        change = case.model(case.inputs) - case.model(starts).mean(0)
    wanted = change.gather(1, case.targets[:, None]).squeeze(1)
    gap = (explain(name, case.model, case, **given).flatten(1).sum(1) - wanted).abs()
    allowed = 1e-10 * (1 + wanted.abs())
    if name in ALLOWED:
        allowed += 1.01 * ALLOWED[name](case, starts)
    assert bool((gap <= allowed).all()), f"gap {gap.max():.3g}"
