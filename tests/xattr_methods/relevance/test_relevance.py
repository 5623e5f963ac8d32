"""Relevance propagation and DeepLIFT against loops over single neurons, on small float64 networks."""

from collections.abc import Callable
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from xattr_methods import (
    deconvnet,
    deep_taylor,
    deeplift,
    deepshap,
    excitation_backprop,
    guided_backprop,
    lrp,
)

EXACT = {"rtol": 1e-8, "atol": 1e-12}
RELEVANCE = (lrp, deep_taylor, excitation_backprop)
DIFFERENCES = (deeplift, deepshap)
Affine = tuple[Tensor, Tensor]  # weights (outputs, inputs) and bias (outputs,)


class Mixed(nn.Module):
    """Convolution, BatchNorm, ReLU, convolution, ReLU, two dense layers; columns see the dense ones alone."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 2, 3, stride=2, bias=bias)
        self.hidden = nn.Linear(8, 5, bias=bias)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(5, 3, bias=bias)
        with torch.no_grad():
            self.norm.running_mean.normal_().mul_(bias)
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()
            self.norm.bias.normal_().mul_(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.relu(self.second(self.relu(self.norm(self.first(inputs)))))
        return self.classifier(self.relu(self.hidden(features.flatten(1))))


SIDE = 6


def mixed(seed: int = 0, bias: bool = True) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = Mixed(bias).double().eval()
    return model, torch.randn(3, 2, SIDE, SIDE, dtype=torch.float64), torch.tensor([0, 2, 1])


def perceptron(seed: int = 0, bias: bool = True) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    layers = [nn.Linear(4, 6, bias), nn.ReLU(), nn.Linear(6, 5, bias), nn.ReLU(), nn.Linear(5, 3, bias)]
    model = nn.Sequential(*layers).double().eval()
    return model, torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])


def unrolled(layer: nn.Conv2d, side: int) -> Affine:
    """A convolution as one weight for each pair of an output and an input, found one by one."""
    stride, padding, size = layer.stride[0], layer.padding[0], layer.kernel_size[0]
    outside = (side + 2 * padding - size) // stride + 1
    outputs = list(product(range(layer.out_channels), range(outside), range(outside)))
    inputs = {one: i for i, one in enumerate(product(range(layer.in_channels), range(side), range(side)))}
    weights, bias = torch.zeros(len(outputs), len(inputs)).double(), torch.zeros(len(outputs)).double()
    for k, (channel, row, column) in enumerate(outputs):
        bias[k] = 0 if layer.bias is None else layer.bias[channel]
        for source, i, j in product(range(layer.in_channels), range(size), range(size)):
            place = (source, row * stride + i - padding, column * stride + j - padding)
            if place in inputs:
                weights[k, inputs[place]] = layer.weight[channel, source, i, j]
    return weights, bias


def map_of(layer: nn.Linear) -> Affine:
    weights = layer.weight.detach()
    return weights, torch.zeros(len(weights)).double() if layer.bias is None else layer.bias.detach()


@torch.no_grad()
def layers_of(model: nn.Module) -> tuple[list[Affine], list[bool]]:
    """The network as affine maps with ReLUs between, BatchNorm merged; and which are convolutions."""
    if isinstance(model, nn.Sequential):
        found = [map_of(one) for one in model if isinstance(one, nn.Linear)]
        return found, [False] * len(found)
    weights, bias = unrolled(model.first, SIDE)
    norm, cells = model.norm, SIDE * SIDE
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).repeat_interleave(cells)
    shift = norm.bias.repeat_interleave(cells) - norm.running_mean.repeat_interleave(cells) * scale
    first, second = (weights * scale[:, None], bias * scale + shift), unrolled(model.second, SIDE)
    return [first, second, map_of(model.hidden), map_of(model.classifier)], [True, True, False, False]


def activations(layers: list[Affine], x: Tensor) -> list[Tensor]:
    """The input of each layer, and the logits."""
    found = [x]
    for place, (weights, bias) in enumerate(layers):
        z = weights @ found[-1] + bias
        found.append(z if place == len(layers) - 1 else z.clamp_min(0))
    return found


def share(rule: str, x: list[float], w: list[float], b: float, low: float, high: float) -> list[float]:
    """The share of each input of what arrives at a unit with the weights w, from the papers' equations."""
    z = [one * weight for one, weight in zip(x, w, strict=True)]
    up = [max(0.0, one) for one in z]
    down = [min(0.0, one) for one in z]
    total = sum(z) + b
    if rule == "epsilon":
        return [one / (total + (0.01 if total >= 0 else -0.01)) for one in z]
    if rule == "zplus":
        return [one / (sum(up) + max(0.0, b) or 1) for one in up]
    if rule == "zplus without bias":
        return [one / (sum(up) or 1) for one in up]
    if rule == "alphabeta":
        positive, negative = sum(up) + max(0.0, b), sum(down) + min(0.0, b)
        return [2 * p / (positive or 1) - n / (negative or 1) for p, n in zip(up, down, strict=True)]
    if rule == "gamma":
        kept, bias = (up, max(0.0, b)) if total > 0 else (down, min(0.0, b))
        below = total + 0.25 * (sum(kept) + bias)
        return [(one + 0.25 * more) / below for one, more in zip(z, kept, strict=True)]
    if rule == "box":
        boxed = [
            one * weight - low * max(0.0, weight) - high * min(0.0, weight)
            for one, weight in zip(x, w, strict=True)
        ]
        return [one / sum(boxed) for one in boxed]
    if rule == "wsquare":
        return [weight**2 / sum(one**2 for one in w) for weight in w]
    if rule == "shifted":
        above = [(one - low) * max(0.0, weight) for one, weight in zip(x, w, strict=True)]
        return [one / (sum(above) or 1) for one in above]
    raise AssertionError(rule)


def textbook(layers: list[Affine], rules: list[str], x: Tensor, start: Tensor) -> Tensor:
    """Relevance of x, neuron by neuron; the box is the range of x, and zero."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    inputs, relevance = activations(layers, x), start.tolist()
    for (weights, bias), rule, entering in reversed(list(zip(layers, rules, inputs[:-1], strict=True))):
        sent = [0.0] * len(entering)
        for k, arriving in enumerate(relevance):
            if arriving:
                parts = share(rule, entering.tolist(), weights[k].tolist(), float(bias[k]), low, high)
                sent = [one + part * arriving for one, part in zip(sent, parts, strict=True)]
        relevance = sent
    return torch.tensor(relevance, dtype=torch.float64)


def slow_maps(make: tuple[nn.Module, Tensor, Tensor], choose: Callable, one_hot: bool = False) -> Tensor:
    """Textbook relevance. choose: a layer's rule by its number and whether it is a convolution."""
    model, inputs, targets = make
    layers, convolves = layers_of(model)
    rules = [choose(place, convolution) for place, convolution in enumerate(convolves)]
    maps = []
    for x, target in zip(inputs.flatten(1), targets, strict=True):
        logits = activations(layers, x)[-1]
        start = torch.zeros_like(logits)
        start[target] = 1.0 if one_hot else logits[target]
        maps.append(textbook(layers, rules, x, start))
    return torch.stack(maps).reshape(inputs.shape)


NETWORKS = {"mixed": mixed, "perceptron": perceptron}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alphabeta", "zplus"])
def test_lrp_with_one_rule_for_all_layers(network: str, rule: str) -> None:
    make = NETWORKS[network]()
    slow = slow_maps(make, lambda place, convolution: rule)
    torch.testing.assert_close(lrp(*make, rule=rule, epsilon=0.01), slow, **EXACT)


@pytest.mark.parametrize(
    ("composite", "convolution", "first"),
    [
        ("epsilon_plus", "zplus", None),
        ("epsilon_alphabeta", "alphabeta", None),
        ("epsilon_gamma_box", "gamma", "box"),
        ("epsilon_plus_wsquare", "zplus", "wsquare"),
    ],
)
def test_lrp_with_a_rule_for_each_kind_of_layer(composite: str, convolution: str, first: str | None) -> None:
    def choose(place: int, convolves: bool) -> str:
        return first if first and not place else convolution if convolves else "epsilon"

    make = mixed()
    torch.testing.assert_close(
        lrp(*make, composite=composite, epsilon=0.01), slow_maps(make, choose), **EXACT
    )


def test_lrp_flat_is_a_count_of_the_units_that_see_an_input() -> None:
    model, inputs, targets = mixed()
    maps = lrp(model, inputs, targets, composite="epsilon_plus_flat")
    assert torch.equal(maps[:, 0], maps[:, 1])  # channels are seen alike
    plain = lrp(model, inputs, targets, composite="epsilon_plus_wsquare").flatten(1).sum(1)
    torch.testing.assert_close(maps.flatten(1).sum(1), plain, **EXACT)


@pytest.mark.parametrize(("network", "first"), [("mixed", "box"), ("perceptron", "wsquare")])
def test_deep_taylor_is_zplus_without_biases_behind_a_rule_for_the_input(network: str, first: str) -> None:
    make = NETWORKS[network]()
    slow = slow_maps(make, lambda place, convolution: "zplus without bias" if place else first)
    torch.testing.assert_close(deep_taylor(*make), slow, **EXACT)


@pytest.mark.parametrize("network", NETWORKS)
def test_excitation_backprop_passes_probabilities_down(network: str) -> None:
    make = NETWORKS[network]()
    slow = slow_maps(
        make, lambda place, convolution: "zplus without bias" if place else "shifted", one_hot=True
    )
    found = excitation_backprop(*make)
    torch.testing.assert_close(found, slow, **EXACT)
    assert bool((found >= 0).all())


def test_contrastive_excitation_subtracts_the_negated_unit() -> None:
    model, inputs, targets = perceptron()
    layers, _ = layers_of(model)
    rules = ["shifted", "zplus without bias"]
    maps = []
    for x, target in zip(inputs, targets, strict=True):
        hidden = activations(layers, x)[2]
        weights = layers[-1][0][target]
        both = []
        for sign in (1, -1):
            won = [float(hidden[j] * max(0.0, float(sign * weights[j]))) for j in range(len(hidden))]
            both.append(torch.tensor([one / (sum(won) or 1) for one in won], dtype=torch.float64))
        maps.append(textbook(layers[:-1], rules, x, both[0] - both[1]))
    found = excitation_backprop(model, inputs, targets, contrastive=True)
    torch.testing.assert_close(found, torch.stack(maps), **EXACT)


def test_excitation_backprop_stops_at_a_layer() -> None:
    model, inputs, targets = mixed()
    stopped = nn.Sequential(model.first, model.norm, nn.ReLU(inplace=True), Rest(model)).eval()
    found = excitation_backprop(stopped, inputs, targets, layer="2")
    hidden = model.relu(model.norm(model.first(inputs))).detach()
    below = excitation_backprop(Rest(model), hidden, targets)  # from the features, which are not negative
    torch.testing.assert_close(found, below.sum(1, keepdim=True), **EXACT)
    before = excitation_backprop(stopped, inputs, targets, layer="0")
    torch.testing.assert_close(before, found, **EXACT)  # a BatchNorm and a ReLU pass all of it
    with pytest.raises(ValueError, match=r"layer='4': expected a module of the model"):
        excitation_backprop(stopped, inputs, targets, layer="4")
    with pytest.raises(ValueError, match=r"expected a layer that returns \(N, C, h, w\), came \(3, 5\)"):
        excitation_backprop(model, inputs, targets, layer="relu")
    once = excitation_backprop(model, inputs, targets, layer="relu", call=0)
    torch.testing.assert_close(once, found, **EXACT)


class Rest(nn.Module):
    """What `Mixed` does behind its first ReLU."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        model = self.model
        features = model.relu(model.second(features))
        return model.classifier(model.relu(model.hidden(features.flatten(1))))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), network=st.sampled_from(sorted(NETWORKS)))
def test_relevance_is_conserved_without_biases(seed: int, network: str) -> None:
    make = NETWORKS[network](seed, bias=False)
    model, inputs, targets = make
    logits = model(inputs).gather(1, targets[:, None]).squeeze(1).detach()
    for parameters in ({"rule": "epsilon", "epsilon": 0.0}, {"rule": "gamma"}):
        sums = lrp(*make, **parameters).flatten(1).sum(1)
        torch.testing.assert_close(sums, logits, rtol=1e-6, atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), network=st.sampled_from(sorted(NETWORKS)))
def test_lrp_zero_is_gradient_times_input_without_biases(seed: int, network: str) -> None:
    model, inputs, targets = NETWORKS[network](seed, bias=False)
    leaf = inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(leaf).gather(1, targets[:, None]).sum(), leaf)
    found = lrp(model, inputs, targets, rule="epsilon", epsilon=0.0)
    torch.testing.assert_close(found, slope * inputs, rtol=1e-6, atol=1e-9)


class Residual(nn.Module):
    """Two branches that are added, in place, over a shared ReLU; a maximum, a mean and a concatenation."""

    def __init__(self, bias: bool = True, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=bias)
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=bias)
        self.relu = activation or nn.ReLU(inplace=True)
        self.classifier = nn.Linear(8, 3, bias=bias)
        with torch.no_grad():
            self.norm.running_mean.normal_().mul_(bias)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        stem = self.relu(self.stem(inputs))
        out = self.second(self.relu(self.norm(self.first(stem))))
        out += stem
        out = functional.max_pool2d(self.relu(out), 2, padding=1)
        both = torch.cat([functional.adaptive_avg_pool2d(out, 1).flatten(1), out.mean((2, 3)) * 0.5], dim=1)
        return self.classifier(both - 0.1)


def residual(seed: int = 0, activation: nn.Module | None = None) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = Residual(activation=activation).double().eval()
    return model, torch.randn(3, 2, SIDE, SIDE, dtype=torch.float64), torch.tensor([0, 2, 1])


def change(model: nn.Module, inputs: Tensor, baseline: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        both = model(inputs) - model(baseline.expand_as(inputs))
    return both.gather(1, targets[:, None]).squeeze(1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    network=st.sampled_from(["mixed", "perceptron", "residual", "sigmoid", "gelu"]),
    rule=st.sampled_from(["rescale", "reveal_cancel"]),
    rows=st.sampled_from([1, None]),
)
def test_deeplift_is_complete(seed: int, network: str, rule: str, rows: int | None) -> None:
    made = {
        "residual": residual,
        "sigmoid": lambda seed: residual(seed, nn.Sigmoid()),
        "gelu": lambda seed: residual(seed, nn.GELU()),
        **NETWORKS,
    }
    model, inputs, targets = made[network](seed)
    baseline = torch.randn(inputs[:rows].shape, dtype=torch.float64)
    sums = deeplift(model, inputs, targets, baseline=baseline, rule=rule).flatten(1).sum(1)
    torch.testing.assert_close(sums, change(model, inputs, baseline, targets), rtol=1e-8, atol=1e-9)


def slow_deeplift(layers: list[Affine], x: Tensor, reference: Tensor, target: int) -> Tensor:
    """Rescale rule, § 3.4 and 3.5.2 of the paper: multipliers from unit to unit."""
    here, there = [x], [reference]
    before = []
    for place, (weights, bias) in enumerate(layers):
        z = [weights @ one[-1] + bias for one in (here, there)]
        before.append(z)
        last = place == len(layers) - 1
        here.append(z[0] if last else z[0].clamp_min(0))
        there.append(z[1] if last else z[1].clamp_min(0))
    multipliers = [float(k == target) for k in range(len(layers[-1][1]))]
    for place, (weights, _) in reversed(list(enumerate(layers))):
        if place < len(layers) - 1:
            changes = zip(
                (here[place + 1] - there[place + 1]).tolist(),
                (before[place][0] - before[place][1]).tolist(),
                strict=True,
            )
            multipliers = [
                one * after / entering for one, (after, entering) in zip(multipliers, changes, strict=True)
            ]
        columns = weights.T.tolist()
        multipliers = [sum(w * one for w, one in zip(column, multipliers, strict=True)) for column in columns]
    return torch.tensor(multipliers, dtype=torch.float64) * (x - reference)


def slow_reveal_cancel(layers: list[Affine], x: Tensor, reference: Tensor, target: int) -> Tensor:
    """§ 3.5.1 and 3.5.3 of the paper, unit by unit; all differences are non-zero here."""
    delta, start = [float(one) for one in x - reference], reference
    steps = []
    for place, (weights, bias) in enumerate(layers):
        z0 = weights @ start + bias
        parts, outcome = [], []
        for k in range(len(bias)):
            products = [float(weights[k, j]) * delta[j] for j in range(len(delta))]
            up, down = sum(max(0, one) for one in products), sum(min(0, one) for one in products)
            base = float(z0[k])
            if place == len(layers) - 1:
                gain, loss = up, down
            else:
                f = [max(0.0, base + one) for one in (0, up, down, up + down)]
                gain, loss = (f[1] - f[0] + f[3] - f[2]) / 2, (f[2] - f[0] + f[3] - f[1]) / 2
            slope = float(place == len(layers) - 1 or base + up + down > 0)
            parts.append((gain / up if up else slope, loss / down if down else slope))
            outcome.append(gain + loss)
        steps.append((weights, delta, parts))
        delta, start = outcome, z0 if place == len(layers) - 1 else z0.clamp_min(0)
    sent = [1.0 if k == target else 0.0 for k in range(len(delta))]
    for weights, entering, parts in reversed(steps):
        found = [0.0] * len(entering)
        for j, k in product(range(len(entering)), range(len(parts))):
            weight = float(weights[k, j])
            sides = [parts[k][0]] if weight * entering[j] > 0 else [parts[k][1]]
            if entering[j] == 0:
                sides = list(parts[k])
            found[j] += weight * sum(sides) / len(sides) * sent[k]
        sent = found
    return torch.tensor(sent, dtype=torch.float64) * (x - reference)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("rule", "slow"), [("rescale", slow_deeplift), ("reveal_cancel", slow_reveal_cancel)]
)
def test_deeplift_multipliers_go_from_unit_to_unit(network: str, rule: str, slow: Callable) -> None:
    model, inputs, targets = NETWORKS[network]()
    layers, _ = layers_of(model)
    reference = torch.randn(inputs.shape[1:], dtype=torch.float64)
    maps = [
        slow(layers, x, reference.flatten(), int(target))
        for x, target in zip(inputs.flatten(1), targets, strict=True)
    ]
    found = deeplift(model, inputs, targets, baseline=reference, rule=rule)
    torch.testing.assert_close(found, torch.stack(maps).reshape(inputs.shape), **EXACT)


def test_reveal_cancel_sees_both_inputs_of_a_minimum() -> None:
    """min(x, y) = x − relu(x − y), Figure 3 of the paper: rescale credits one input, RevealCancel both."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    x, target = torch.tensor([[5.0, 3.0]]).double(), torch.tensor([0])
    torch.testing.assert_close(deeplift(model, x, target), torch.tensor([[0.0, 3.0]]).double())
    found = deeplift(model, x, target, rule="reveal_cancel")
    torch.testing.assert_close(found, torch.tensor([[1.5, 1.5]]).double())


def test_deeplift_credits_the_winners_of_a_maximum() -> None:
    class Largest(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return functional.max_pool1d(inputs[:, None], 3).flatten(1)

    x, reference = torch.tensor([[1.0, 4.0, 2.0], [0.0, 1.0, 2.0]]), torch.tensor([3.0, 1.0, 0.0])
    found = deeplift(Largest(), x, torch.tensor([0, 0]), baseline=reference)
    # From 3 to 4, which the second made; from 3 to 2, since the first fell.
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]))


def test_deeplift_takes_the_derivative_where_nothing_differs() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Sigmoid(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0]]))
    found = deeplift(model, torch.tensor([[0.7, 0.7]]).double(), torch.tensor([0]))
    slope = 0.7 * 0.25 * model[2].weight.item()
    torch.testing.assert_close(found, torch.tensor([[slope, -slope]]).double())


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_deepshap_is_the_mean_of_deeplift(rule: str) -> None:
    model, inputs, targets = residual()
    background = torch.randn(4, 2, SIDE, SIDE, dtype=torch.float64)
    slow = sum(deeplift(model, inputs, targets, baseline=row, rule=rule) for row in background) / 4
    torch.testing.assert_close(
        deepshap(model, inputs, targets, background=background, rule=rule), slow, **EXACT
    )


def test_the_default_background_is_drawn_from_the_seed_alone() -> None:
    model, inputs, targets = residual()
    state = torch.get_rng_state()
    maps = deepshap(model, inputs, targets, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(maps, deepshap(model, inputs, targets, seed=3))
    assert not torch.allclose(maps, deepshap(model, inputs, targets, seed=4))


def test_deconvnet_rectifies_what_comes_back_alone() -> None:
    model, inputs, targets = mixed()
    layers, _ = layers_of(model)
    maps = []
    for target in targets:
        back = layers[-1][0][target]
        for (weights, _), _ in reversed(list(pairwise(layers))):
            back = back.clamp_min(0) @ weights
        maps.append(back.reshape(inputs.shape[1:]))
    torch.testing.assert_close(deconvnet(model, inputs, targets), torch.stack(maps), **EXACT)
    with pytest.raises(ValueError, match="calls no ReLU"):
        deconvnet(nn.Linear(4, 2), torch.randn(1, 4), torch.tensor([0]))


class Spelled(nn.Module):
    """One network in several spellings: what a method sees must not depend on them."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        self.first, self.second, self.third = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu, self.other = nn.ReLU(), nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        if self.spelling == "modules":
            hidden = self.relu(hidden)
            return self.third(self.other(self.second(hidden) + hidden))
        if self.spelling == "one module":
            hidden = self.relu(hidden)
            return self.third(self.relu(self.second(hidden).add(hidden)))
        if self.spelling == "functions":
            hidden = torch.relu(functional.linear(inputs, self.first.weight, self.first.bias))
            return self.third((hidden + (hidden @ self.second.weight.T + self.second.bias)).clamp(min=0))
        if self.spelling == "statements":
            functional.relu(hidden, inplace=True)
            total = self.second(hidden)
            total += hidden
            total.relu_()
            return self.third(total)
        with torch.no_grad():  # "stopped"
            hidden = hidden.relu().detach().clone()
        return self.third(functional.dropout(self.second(hidden) + hidden, training=self.training).relu())


SPELLINGS = ("one module", "functions", "statements", "stopped")


@pytest.mark.parametrize("method", [*RELEVANCE, *DIFFERENCES], ids=lambda method: method.name)
def test_spelling_does_not_matter(method: Callable) -> None:
    x, targets = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    torch.manual_seed(0)
    model = Spelled("modules").double().eval()
    maps = method(model, x, targets)
    for spelling in SPELLINGS:
        model.spelling = spelling
        torch.testing.assert_close(method(model, x, targets), maps, **EXACT)


class Around(nn.Module):
    """A linear layer, something, a linear layer."""

    def __init__(self, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 6), inner, nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.inner(self.first(inputs)))


class Attention(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return functional.softmax(inputs, dim=1)


class Scripted(torch.autograd.Function):
    """Stands for code that torch functions do not show."""

    @staticmethod
    def forward(ctx: object, inputs: Tensor) -> Tensor:
        return torch.from_numpy(inputs.detach().numpy() + 1)


class InBatch(nn.Module):
    """BatchNorm with the statistics of the batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        pairs = torch.stack([inputs, 2 * inputs], dim=2)
        return functional.batch_norm(pairs, None, None, training=True).mean(2)


REFUSED = {
    "softmax": (
        Attention(),
        r"rule for torch.nn.functional.softmax, which inner \(Attention\) calls; use xattr",
    ),
    "norm": (nn.GroupNorm(2, 6), r"rule for torch.nn.functional.group_norm, which inner \(GroupNorm\) calls"),
    "quotient": (lambda hidden: hidden / hidden.flip(1), r"rule for torch.Tensor.div; use"),
    "cube": (lambda hidden: torch.einsum("nc,nc,nc->nc", *[hidden] * 3), r"rule for torch.functional.einsum"),
    "gate": (lambda hidden: hidden * (hidden > 0), r"rule for torch.Tensor.gt"),
    "lstm": (lambda hidden: nn.LSTM(6, 6)(hidden)[0], r"rule for torch.lstm, which|rule for torch.lstm; use"),
    "item": (lambda hidden: hidden / hidden.mean().item(), r"rule for torch.Tensor.item"),
    "write": (lambda hidden: hidden.__setitem__(0, 0.0) or hidden, r"rule for torch.Tensor.__setitem__"),
    "cast": (lambda hidden: hidden.to(torch.int64).to(hidden), r"rule for torch.Tensor.to to torch.int64"),
    "numpy": (lambda hidden: Scripted.apply(hidden), r"rule for torch.Tensor.numpy"),
    "noise": (lambda hidden: functional.dropout(hidden), r"rule for torch.nn.functional.dropout"),
    "floor": (lambda hidden: torch.div(hidden, 2, rounding_mode="floor"), r"rule for torch.div"),
    "batch": (InBatch(), r"rule for torch.nn.functional.batch_norm, which inner"),
    "vmap": (torch.func.vmap(torch.sin), r"rule for something computed out of sight"),
}


# What is refused is refused by the tape that all write: one case for each, and all cases for one.
@pytest.mark.parametrize(
    ("method", "case"),
    [(lrp, case) for case in REFUSED if case != "softmax"]
    + [(method, "softmax") for method in RELEVANCE if method is not lrp]
    + [(method, "lstm") for method in DIFFERENCES],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_what_has_no_rule_is_refused_by_name(method: Callable, case: str) -> None:
    inner, message = REFUSED[case]
    model = Around(inner).eval()
    with pytest.raises(ValueError, match=f"^{method.name}: there is no {message}"):
        method(model, torch.randn(3, 4), torch.tensor([0, 1, 2]))


def test_a_view_that_was_written_to_is_not_read_again() -> None:
    def stale(hidden: Tensor) -> Tensor:
        functional.relu_(hidden.view(-1))
        return hidden

    with pytest.raises(ValueError, match="written to through another view"):
        lrp(Around(stale), torch.randn(3, 4), torch.tensor([0, 1, 2]))


def test_an_output_out_of_sight_is_refused() -> None:
    model = torch.func.vmap(nn.Linear(4, 3))
    wrapped = Around(lambda hidden: hidden)
    wrapped.forward = lambda inputs: model(inputs)
    with pytest.raises(ValueError, match="out of sight of torch functions"):
        deeplift(wrapped, torch.randn(3, 4), torch.tensor([0, 1, 2]))


def test_nonlinearities_that_relevance_cannot_pass_are_refused() -> None:
    x, targets = torch.randn(3, 4), torch.tensor([0, 1, 2])
    for inner in (nn.Sigmoid(), nn.Softplus(), nn.Hardtanh(-1, 1)):
        with pytest.raises(ValueError, match=rf"lrp: there is no rule .* inner \({type(inner).__name__}\)"):
            lrp(Around(inner), x, targets)
    assert lrp(Around(nn.GELU()), x, targets).shape == x.shape
    for method in (deep_taylor, excitation_backprop):
        assert method(Around(nn.ReLU6()), x, targets).shape == x.shape
        with pytest.raises(ValueError, match=r"no rule for torch.nn.functional.gelu, which inner \(GELU\)"):
            method(Around(nn.GELU()), x, targets)


def test_parameters_are_checked() -> None:
    model, x, targets = perceptron()
    with pytest.raises(
        ValueError, match="expected rule= one of epsilon, gamma, alphabeta, zplus, came 'plus'"
    ):
        lrp(model, x, targets, rule="plus")
    with pytest.raises(ValueError, match=r"expected composite=epsilon_plus, .* came 'plus'"):
        lrp(model, x, targets, composite="plus")
    with pytest.raises(ValueError, match=r"expected alpha − beta = 1, came 2 − 0\.5"):
        lrp(model, x, targets, rule="alphabeta", beta=0.5)
    with pytest.raises(ValueError, match="expected input_rule= one of box, wsquare, zplus, came 'z'"):
        deep_taylor(model, x, targets, input_rule="z")
    with pytest.raises(ValueError, match="expected rule= one of rescale, reveal_cancel, came 'linear'"):
        deeplift(model, x, targets, rule="linear")
    with pytest.raises(ValueError, match=r"baseline that broadcasts to \(5, 4\), came \(3,\)"):
        deeplift(model, x, targets, baseline=torch.zeros(3))
    with pytest.raises(ValueError, match=r"layer=: expected images \(N, C, H, W\), .*came columns \(5, 4\)"):
        excitation_backprop(model, x, targets, layer="0")
    with pytest.raises(
        ValueError, match="ends with a linear layer for contrastive=True, came one that ends with relu"
    ):
        excitation_backprop(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).double(), x, targets, contrastive=True)
    with pytest.raises(ValueError, match="no linear layer of this model reads the input, for the rule 'box'"):
        lrp(nn.Sequential(nn.ReLU(), nn.Linear(4, 3)).double(), x, targets, composite="epsilon_plus_box")


class Tokens(nn.Module):
    """Mixes tokens, first in a layout with the batch behind them, then through a product with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.embed = nn.Linear(3, 4)
        self.mix = nn.Parameter(torch.randn(5, 5))
        self.classifier = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        normalised = self.norm(tokens.transpose(1, 2)).permute(2, 0, 1)  # (T, N, E)
        hidden = functional.relu(self.embed(normalised).reshape(5, -1))  # (T, N × 4)
        hidden = torch.einsum("st,tk->sk", self.mix, hidden).relu()
        hidden = hidden.reshape(5, -1, 4).transpose(0, 1)
        return self.classifier(functional.relu(self.mix @ hidden).sum(1).squeeze())


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_tokens_in_any_layout(rule: str) -> None:
    torch.manual_seed(0)
    model, targets = Tokens().double().eval(), torch.tensor([0, 1])
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    # With one row of baselines the squeeze and the reshape would go another way: all rows are run then.
    sums = deeplift(model, x, targets, rule=rule).flatten(1).sum(1)
    torch.testing.assert_close(sums, change(model, x, torch.zeros_like(x), targets), **EXACT)
    found = lrp(model, x, targets, rule="zplus")
    assert found.shape == x.shape
    assert bool(torch.isfinite(found).all())


def test_a_constant_factor_and_a_shift_are_part_of_the_layer_before_them() -> None:
    torch.manual_seed(0)
    factor, shift = torch.tensor([2.0, -1.0, 0.5, 3.0, -0.2, 1.0]).double(), torch.randn(6).double()
    model = Around(lambda hidden: functional.relu(hidden * factor - shift)).double()
    same = Around(functional.relu).double()
    same.load_state_dict(model.state_dict())
    with torch.no_grad():
        same.first.weight *= factor[:, None]
        same.first.bias.mul_(factor).sub_(shift)
    x, targets = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    for method in RELEVANCE:
        torch.testing.assert_close(method(model, x, targets), method(same, x, targets), **EXACT)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_merge_with_their_norm(groups: int) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups)
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.normal_()
    model = nn.Sequential(up, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    merged = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), *model[2:])
    model, merged = model.double().eval(), merged.double().eval()
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        for place in range(4):
            group = place // (4 // groups)
            for output in range(6 // groups):
                factor = scale[group * (6 // groups) + output]
                merged[0].weight[place, output] = up.weight[place, output] * factor
        merged[0].bias.copy_(up.bias * scale + norm.bias - norm.running_mean * scale)
    x, targets = torch.randn(3, 4, 3, 3, dtype=torch.float64), torch.tensor([0, 1, 2])
    torch.testing.assert_close(lrp(model, x, targets), lrp(merged, x, targets), **EXACT)


def test_additions_share_in_proportion_and_maxima_give_all_to_the_winner() -> None:
    class Sum(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs[:, :2] - inputs[:, 2:4]) + functional.max_pool1d(inputs[:, None, 4:], 2)[:, 0]

    x = torch.tensor([[3.0, 1.0, 1.0, 5.0, 7.0, 2.0, 1.0, 6.0]]).double()
    # 3 − 1 + 7 = 9 and 1 − 5 + 6 = 2: each operand keeps its value.
    own = torch.tensor([[3.0, 0, -1.0, 0, 7.0, 0, 0, 0]]).double()
    torch.testing.assert_close(lrp(Sum(), x, torch.tensor([0])), own, **EXACT)
    positive = torch.tensor([[9 * 2 / 9 * 3 / 3, 0, 0, 0, 9 * 7 / 9, 0, 0, 0]]).double()
    torch.testing.assert_close(lrp(Sum(), x, torch.tensor([0]), rule="zplus"), positive, **EXACT)


def test_guided_backprop_still_guides() -> None:
    model, inputs, targets = mixed()
    layers, _ = layers_of(model)
    maps = []
    for x, target in zip(inputs.flatten(1), targets, strict=True):
        values, back = activations(layers, x), layers[-1][0][target]
        for place in reversed(range(len(layers) - 1)):
            back = (back.clamp_min(0) * (values[place + 1] > 0)) @ layers[place][0]
        maps.append(back.reshape(inputs.shape[1:]))
    torch.testing.assert_close(guided_backprop(model, inputs, targets), torch.stack(maps), **EXACT)
