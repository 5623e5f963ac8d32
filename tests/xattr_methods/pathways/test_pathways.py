"""Critical pathways against slow textbook versions, and the propositions of [khakzar2021], in float64."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from networks import Pooled, Twice, settled
from skimage.morphology import opening as textbook_opening
from torch import Tensor, nn
from torch.nn import functional

import xattr_methods.pathways.greedy_pruning as pruning
import xattr_methods.pathways.neuron_intgrad as intgrad
import xattr_methods.pathways.pathway_gradient as mapping
import xattr_methods.pathways.selection as choosing
from xattr_check.core.outputs import Labels, Value
from xattr_check.errors import Declined
from xattr_check.perturbation.gradients import slopes
from xattr_methods import dgr, greedy_pruning, neuron_intgrad, neuron_mct, pathway_gradient
from xattr_methods.pathways import Pathways, decoded, pathways
from xattr_methods.pathways._neurons import Neurons, activations_of, call_by_call, flat, held
from xattr_methods.pathways.selection import SELECTIONS

TARGETS = torch.tensor([0, 2, 1])
QUICK = {"steps": 4, "iterations": 15, "rounds": 7}
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
Case = tuple[nn.Module, Tensor, Tensor]
by_selection = pytest.mark.parametrize("selection", SELECTIONS)


def dense(*widths: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Layers of these widths with ReLUs between them."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double().eval()


@pytest.fixture
def columns() -> Case:
    return dense(5, 9, 8, 7, 3), torch.randn(3, 5, dtype=torch.float64), TARGETS


@pytest.fixture
def images() -> Case:
    torch.manual_seed(1)
    return settled(Pooled(3, 4)), torch.randn(3, 3, 8, 6, dtype=torch.float64), TARGETS


def masks(model: nn.Module, inputs: Tensor, share: float, seed: int = 0) -> list[Tensor]:
    """A random choice of neurons, of so large a share."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(one.shape, generator=generator) < share for one in activations_of(model, inputs)]


def rebuilt(
    model: nn.Sequential, constants: Sequence[Tensor], keep: Sequence[Tensor]
) -> Callable[[Tensor], Tensor]:
    """The pathway network of one input, layer by layer: constants where a neuron is not kept."""

    def network(x: Tensor) -> Tensor:
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        hidden = x
        for layer, constant, kept in zip(layers, constants, keep, strict=False):
            hidden = torch.where(kept, (layer(hidden)).clamp_min(0), constant)
        return layers[-1](hidden)

    return network


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_pathway_network_has_the_outputs_of_the_network(images, share) -> None:
    model, inputs, _ = images
    with held(masks(model, inputs, share)):
        outputs = model(inputs)
    assert torch.equal(outputs, model(inputs))


def test_all_neurons_have_the_gradient_and_none_has_nothing(columns, images) -> None:
    for model, inputs, targets in (columns, images):
        with held(masks(model, inputs, 1.0)):
            found = slopes(model, inputs, targets)
        torch.testing.assert_close(found, slopes(model, inputs, targets), **CLOSE)
    model, inputs, targets = columns
    with held(masks(model, inputs, 0.0)):
        assert float(slopes(model, inputs, targets).abs().max()) == 0


def test_what_goes_past_all_neurons_is_left_without_any() -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch, self.shortcut = dense(4, 6, 3), nn.Linear(4, 3).double()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.branch(inputs) + self.shortcut(inputs)

    model, inputs = Past(), torch.randn(3, 4, dtype=torch.float64)
    with held(masks(model, inputs, 0.0)):
        found = slopes(model, inputs, TARGETS)
    torch.testing.assert_close(found, model.shortcut.weight[TARGETS].detach(), **CLOSE)


def assert_differences_are_those_of_constants() -> None:
    """The map is the gradient, by finite differences, of the network with constants in it."""
    for seed in range(4):
        model, inputs = dense(5, 12, 12, 12, 3, seed=seed), torch.randn(3, 5, dtype=torch.float64)
        keep = pathways(model, inputs, TARGETS, sparsity=0.7).neurons
        constants = activations_of(model, inputs)
        maps = pathway_gradient(model, inputs, TARGETS, sparsity=0.7)
        for row, target in enumerate(TARGETS):
            network = rebuilt(model, [one[row] for one in constants], [one[row] for one in keep])
            for column in range(5):
                step = 1e-6 * torch.eye(5, dtype=torch.float64)[column]
                with torch.no_grad():
                    change = (network(inputs[row] + step) - network(inputs[row] - step))[target] / 2e-6
                assert float(maps[row, column]) == pytest.approx(float(change), rel=1e-6, abs=1e-9)


def assert_complete_in_each_layer() -> None:
    """Without biases Φ(αa) is linear in α, so that a single midpoint is exact."""
    model, inputs = dense(5, 9, 8, 3, bias=False), torch.randn(3, 5, dtype=torch.float64)
    for steps in (1, 7):
        for call, scores in enumerate(neuron_intgrad(model, inputs, TARGETS, steps=steps)):
            torch.testing.assert_close(scores.sum(1), change_without(model, inputs, call), **CLOSE)


def change_without(model: nn.Module, inputs: Tensor, call: int) -> Tensor:
    """(N,): Φ(x) − Φ(aⁱ ← 0) of one call."""
    with torch.no_grad():
        with Neurons(lambda number, one: 0 * one if number == call else one):
            without = model(inputs)
        return (model(inputs) - without).gather(1, TARGETS[:, None]).squeeze(1)


def assert_pruned_neurons_stay_away() -> None:
    """The pathway is that of a loop that takes one neuron after the other."""
    model, inputs = dense(5, 9, 8, 3, seed=3), torch.randn(3, 5, dtype=torch.float64)
    found = choosing.pathways(model, inputs, TARGETS, selection="greedy_pruning", sparsity=0.7, rounds=99)
    for row in range(3):
        slow = slow_pruning(model, inputs[row], int(TARGETS[row]), 0.7)
        assert torch.equal(flat(found.neurons, 3)[row], slow)


def assert_every_call_is_scored() -> None:
    """A network of modules that are used twice is scored as one of copies, each used once."""
    torch.manual_seed(0)
    model = Twice(2).double().eval()

    class Copies(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            first, second, third = nn.ReLU(), nn.ReLU(), nn.ReLU()
            hidden = third(model.again(second(model.again(first(model.first(inputs))))))
            return model.classifier(functional.adaptive_avg_pool2d(hidden, 4).flatten(1))

    inputs = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    for score in (neuron_mct, neuron_intgrad):
        found = score(model, inputs, TARGETS)
        assert len(found) == 3
        torch.testing.assert_close(found, score(Copies(), inputs, TARGETS), **CLOSE)


def without_rule(*given: object) -> tuple[Tensor, Tensor]:
    """Weights of the released code, which add up to 5.5."""
    nodes, weights = intgrad_rule(*given)
    return nodes, 5.5 * weights


def coming_back(
    name: str, model: nn.Module, inputs: Tensor, targets: Tensor, sparsity: float, rounds: int
) -> list[Tensor]:
    """As the released code prunes: the lowest of all, of the whole network anew in each round."""
    like, rows = activations_of(model, inputs), len(inputs)
    kept = flat([torch.ones_like(one, dtype=torch.bool) for one in like], rows)
    for left in range(kept.shape[1] - 1, round((1 - sparsity) * kept.shape[1]) - 1, -1):
        found = pruning.contributions(model, inputs, targets, call_by_call(kept, like))
        kept = flat(found, rows).abs().argsort(1, descending=True).argsort(1) < left
    return call_by_call(kept, like)


class OncePerModule(Neurons):
    """Hooks of a module keep one activation, and functions have none: only the first call is seen."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {})) if self.calls else super().__torch_function__(
            func, types, args, kwargs
        )  # fmt: skip


intgrad_rule = intgrad.nodes_and_weights
DEFECTS: dict[str, tuple[Callable[[], None], object, str, object]] = {
    "off-path neurons are multiplied by 0": (
        assert_differences_are_those_of_constants,
        mapping,
        "held",
        lambda keep: Neurons(lambda number, one: one * keep[number]),
    ),
    "weights add up to 5.5": (assert_complete_in_each_layer, intgrad, "nodes_and_weights", without_rule),
    "pruned neurons come back": (assert_pruned_neurons_stay_away, choosing, "pruned", coming_back),
    "a module is scored once": (
        assert_every_call_is_scored,
        __import__("xattr_methods.pathways._neurons", fromlist=["_"]),
        "Neurons",
        OncePerModule,
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_of_public_code_are_caught(defect, monkeypatch) -> None:
    holds, module, name, broken = DEFECTS[defect]
    holds()
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError):
        holds()


def test_contributions_add_up_where_there_are_biases_too(columns, images) -> None:
    for model, inputs, targets in (columns, images):
        scores = neuron_intgrad(model, inputs, targets, steps=800)
        for call, one in enumerate(scores):
            torch.testing.assert_close(
                one.flatten(1).sum(1), change_without(model, inputs, call), rtol=0, atol=3e-3
            )


def test_contributions_are_integrals_by_a_loop(images) -> None:
    model, inputs, targets = images
    found = neuron_intgrad(model, inputs, targets, steps=3, memory=1)
    for row, target in enumerate(targets):
        for call in range(2):
            slow = torch.zeros_like(found[call][row])
            for step in range(3):
                kept: list[Tensor] = []

                def scaled(number: int, one: Tensor, call=call, step=step, kept=kept) -> Tensor:
                    if number != call:
                        return one
                    kept.append(((step + 0.5) / 3 * one).detach().requires_grad_())
                    kept.append(one)
                    return kept[0]

                with Neurons(scaled):
                    output = model(inputs[row : row + 1])[0, target]
                (slope,) = torch.autograd.grad(output, kept[0])
                slow += (kept[1] * slope)[0].detach() / 3
            torch.testing.assert_close(found[call][row], slow, **CLOSE)
    torch.testing.assert_close(neuron_intgrad(model, inputs, targets, steps=3), found, **CLOSE)


def test_contributions_to_first_order(columns) -> None:
    model, inputs, targets = columns
    found = neuron_mct(model, inputs, targets)
    # The logit is linear in the last neurons: to take one away changes it by what the other end says.
    for score in (neuron_mct, neuron_intgrad):
        last = activations_of(model, inputs)[-1] * model[-1].weight[targets]
        torch.testing.assert_close(score(model, inputs, targets)[-1].abs(), last.abs().detach(), **CLOSE)
    hidden = activations_of(model, inputs)[0].requires_grad_()
    (slope,) = torch.autograd.grad(model[2:](hidden).gather(1, targets[:, None]).sum(), hidden)
    torch.testing.assert_close(found[0], (hidden * slope).abs().detach(), **CLOSE)


def test_dead_neurons_contribute_exactly_nothing(columns, images) -> None:
    for model, inputs, targets in (columns, images):
        dead = [one == 0 for one in activations_of(model, inputs)]
        assert all(bool(one.any()) for one in dead)
        for score in (neuron_mct, neuron_intgrad):
            for one, gone in zip(score(model, inputs, targets), dead, strict=True):
                assert float(one[gone].abs().max()) == 0
        for selection in ("neuron_mct", "neuron_intgrad"):
            found = pathways(model, inputs, targets, selection=selection, sparsity=0.0, steps=3)
            assert found.dead_share.tolist() == [0, 0, 0]


def test_null_players_and_symmetry(columns) -> None:
    model, inputs, targets = columns
    with torch.no_grad():
        model[2].weight[:, 4] = 0
        model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]
        model[2].weight[:, 1] = model[2].weight[:, 0]
    for score in (neuron_mct, neuron_intgrad):
        first = score(model, inputs, targets)[0]
        assert float(first[:, 4].abs().max()) == 0
        torch.testing.assert_close(first[:, 0], first[:, 1], **CLOSE)


@settings(max_examples=15, deadline=None)
@drawn(seed=st.integers(0, 2**31))
def test_the_pathway_network_is_linear_as_far_as_the_propositions_say(seed: int) -> None:
    """Within min |z| / ‖∇z‖ of the neurons of the pathway, and not beyond."""
    model = dense(4, 8, 7, 3, seed=seed)
    inputs, target = torch.randn(1, 4, dtype=torch.float64), TARGETS[:1]
    keep = [one[0] for one in pathways(model, inputs, target, sparsity=0.6).neurons]
    constants = [one[0] for one in activations_of(model, inputs)]
    network = rebuilt(model, constants, keep)
    x = inputs[0].clone().requires_grad_()
    first = model[0](x)
    second = model[2](torch.where(keep[0], first.clamp_min(0), constants[0]))
    output = model[4](torch.where(keep[1], second.clamp_min(0), constants[1]))[target[0]]
    walls = []
    # Of the neurons that the output depends on, in the network with constants.
    for z, effect in zip(
        (first, second), torch.autograd.grad(output, (first, second), retain_graph=True), strict=True
    ):
        for number in effect.nonzero().flatten():
            (slope,) = torch.autograd.grad(z[number], x, retain_graph=True)
            if float(slope.norm()) > 0:
                walls.append((float(z[number].detach().abs() / slope.norm()), slope, z[number].detach()))
    assume(walls)
    radius, slope, z = min(walls, key=lambda wall: wall[0])
    wanted = pathway_gradient(model, inputs, target, sparsity=0.6)[0]

    def gradient_at(point: Tensor) -> Tensor:
        point = point.detach().requires_grad_()
        (found,) = torch.autograd.grad(network(point)[target[0]], point)
        return found

    torch.manual_seed(seed)
    for _ in range(20):
        direction = functional.normalize(torch.randn(4, dtype=torch.float64), dim=0)
        torch.testing.assert_close(gradient_at(inputs[0] + 0.999 * radius * direction), wanted, **CLOSE)
    beyond = inputs[0] - 1.001 * z / slope.norm() * slope / slope.norm()
    assert not torch.allclose(gradient_at(beyond), wanted, rtol=1e-6, atol=1e-9)


def slow_pruning(model: nn.Sequential, x: Tensor, target: int, sparsity: float) -> Tensor:
    """Algorithm 1, one neuron at a time, on a network that is written out."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    widths = [layer.out_features for layer in layers[:-1]]
    kept = [torch.ones(width, dtype=torch.float64) for width in widths]
    wanted = round((1 - sparsity) * sum(widths))
    while True:
        hidden, neurons = x, []
        for layer, mask in zip(layers, kept, strict=False):
            neurons.append(layer(hidden).clamp_min(0))
            neurons[-1].retain_grad()
            hidden = neurons[-1] * mask
        layers[-1](hidden)[target].backward()
        scores = [(abs(float(a * g)), call, place)
                  for call, one in enumerate(neurons)
                  for place, (a, g) in enumerate(zip(one.detach(), one.grad, strict=True))]  # fmt: skip
        alive = [one for one in scores if one[0] > 0 and kept[one[1]][one[2]]]
        if len(alive) <= wanted:
            found = [torch.zeros(width, dtype=torch.bool) for width in widths]
            for _, call, place in alive:
                found[call][place] = True
            return torch.cat(found)
        _, call, place = min(alive)
        kept[call][place] = 0


def test_pruning_leaves_neurons_that_were_dead(columns) -> None:
    model, inputs, targets = columns
    found = greedy_pruning(model, inputs, targets, sparsity=0.6, rounds=3)
    assert [one.dtype for one in found] == [torch.bool] * 3
    assert bool((flat(found, 3).sum(1) <= round(0.4 * 24)).all())
    shares = [
        pathways(dense(6, 20, 20, 3, seed=seed), torch.randn(3, 6).double(), TARGETS,
                 selection="greedy_pruning").dead_share
        for seed in range(5)
    ]  # fmt: skip
    assert float(torch.stack(shares).nanmean()) > 0.02


@pytest.mark.parametrize("start", [1.0, 0.5, "random"])
def test_gates_are_optimised_as_by_a_loop(columns, start) -> None:
    model, inputs, targets = columns
    found = dgr(model, inputs, targets, iterations=30, start=start, seed=4)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    for row, x in enumerate(inputs):
        generator = torch.Generator().manual_seed(4)
        gates = [
            torch.rand(layer.out_features, generator=generator, dtype=torch.float64)
            if start == "random"
            else torch.full((layer.out_features,), start, dtype=torch.float64)
            for layer in layers[:-1]
        ]
        descent = torch.optim.SGD(gates, lr=0.01, momentum=0.9)
        wanted = model(x).softmax(0).detach()
        for _ in range(30):
            for gate in gates:
                gate.requires_grad_().grad = None
            hidden = x
            for layer, gate in zip(layers, gates, strict=False):
                hidden = gate * layer(hidden).clamp_min(0)
            entropy = -(wanted * layers[-1](hidden).log_softmax(0)).sum()
            (entropy + 0.01 * sum(gate.abs().sum() for gate in gates)).backward()
            descent.step()
            for gate in gates:
                gate.data.clamp_min_(0)
        for one, gate in zip(found, gates, strict=True):
            torch.testing.assert_close(one[row], gate.detach(), rtol=1e-7, atol=1e-9)


def test_the_largest_of_all_layers_are_chosen(columns) -> None:
    model, inputs, targets = columns
    for name, score, given in (
        ("neuron_mct", neuron_mct, {}),
        ("neuron_intgrad", neuron_intgrad, {}),
        ("dgr", dgr, {"start": "random", "iterations": 20}),
    ):
        scores = flat(score(model, inputs, targets, **given), 3)
        found = pathways(model, inputs, targets, selection=name, sparsity=0.75, **given)
        for row in range(3):
            first = scores[row].argsort(descending=True)[:6]
            wanted = first[scores[row, first] > 0].sort().values
            assert torch.equal(flat(found.neurons, 3)[row].nonzero().flatten(), wanted)
            assert len(wanted) == 6 or name == "neuron_intgrad"
    # What is 0 or speaks against the target is left out, however many there may be.
    everything = pathways(model, inputs, targets, selection="neuron_intgrad", sparsity=0.0)
    signs = flat(neuron_intgrad(model, inputs, targets), 3) > 0
    assert torch.equal(flat(everything.neurons, 3), signs)


@by_selection
def test_rows_are_independent(images, selection) -> None:
    model, inputs, targets = images
    order = torch.tensor([2, 0, 1])
    whole = pathway_gradient(model, inputs, targets, selection=selection, **QUICK)
    moved = pathway_gradient(model, inputs[order], targets[order], selection=selection, **QUICK)
    torch.testing.assert_close(moved, whole[order], **CLOSE)
    found = pathways(model, inputs, targets, selection=selection, **QUICK)
    for row in range(3):
        alone = pathways(
            model, inputs[row : row + 1], targets[row : row + 1], selection=selection, memory=1, **QUICK
        )
        assert torch.equal(flat(alone.neurons, 1)[0], flat(found.neurons, 3)[row])


class TimesFirst(nn.Module):
    """Signals (N, 3, T) whose activations are (T, N, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.Linear(3, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(functional.relu(self.read(inputs.permute(2, 0, 1))).mean(0))


@by_selection
def test_activations_need_not_begin_with_the_inputs(selection) -> None:
    torch.manual_seed(0)
    model = TimesFirst().double()

    class InputsFirst(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return model.head(functional.relu(model.read(inputs.transpose(1, 2))).mean(1))

    # As many times as inputs, so that shapes alone do not tell.
    inputs = torch.randn(3, 3, 3, dtype=torch.float64)
    given = {"selection": selection, "sparsity": 0.5, **QUICK}
    found = pathway_gradient(model, inputs, TARGETS, **given)
    if selection != "greedy_pruning":  # where neurons of all times have one score, the order tells
        torch.testing.assert_close(found, pathway_gradient(InputsFirst(), inputs, TARGETS, **given), **CLOSE)
        alone = pathway_gradient(model, inputs[:1], TARGETS[:1], **given)
        torch.testing.assert_close(alone, found[:1], **CLOSE)
    assert [one.shape for one in neuron_mct(model, inputs, TARGETS)] == [(3, 3, 1, 5)]


def test_leaky_neurons_are_served_and_smooth_ones_declined(columns) -> None:
    _, inputs, targets = columns
    for leaky in (nn.LeakyReLU(0.1), nn.LeakyReLU(0.1, inplace=True), nn.PReLU(), nn.ReLU6()):
        model = nn.Sequential(nn.Linear(5, 9), leaky, nn.Linear(9, 3)).double()
        wanted = (model[:2](inputs) * model[2].weight[targets]).abs().detach()
        torch.testing.assert_close(neuron_mct(model, inputs, targets)[0], wanted, **CLOSE)
        with held(masks(model, inputs, 0.0)):
            assert float(slopes(model, inputs, targets).abs().max()) == 0
    for smooth, name in ((nn.GELU(), "gelu"), (nn.SiLU(), "silu"), (nn.ELU(), "elu")):
        model = nn.Sequential(nn.Linear(5, 9), smooth, nn.ReLU(), nn.Linear(9, 3)).double()
        for method in (pathway_gradient, pathways, neuron_mct):
            asked = getattr(method, "name", None) or method.__name__
            with pytest.raises(Declined, match=f"^{asked}: the model calls {name}, which is nowhere linear"):
                method(model, inputs, targets)


def test_overlaps_and_sizes() -> None:
    def made(*rows: str) -> Pathways:
        neurons = torch.tensor([[one == "x" for one in row] for row in rows])
        active = torch.tensor([[True, True, False, True], [True] * 4])
        return Pathways((neurons[:, :3], neurons[:, 3:]), (active[:, :3], active[:, 3:]))

    one, other = made("x.x.", "xxxx"), made("xx..", "...x")
    assert one.size.tolist() == [2, 4]
    assert one.dead_share.tolist() == [0.5, 0]
    assert one.overlap(other).tolist() == [pytest.approx(1 / 3), 0.25]
    by_call = one.overlap_by_call(other)
    assert by_call.shape == (2, 2)
    assert by_call[0].tolist() == [pytest.approx(1 / 3), 0]
    assert bool(by_call[1, 0].isnan())
    assert float(by_call[1, 1]) == 1
    first = Pathways(*([values[:1] for values in each] for each in (one.neurons, one.active)))
    with pytest.raises(
        ValueError, match=r"^Pathways.overlap: expected pathways of 2 inputs, came those of 1$"
    ):
        one.overlap(first)
    whole = Pathways((flat(one.neurons, 2),), (flat(one.active, 2),))
    for compare in (one.overlap, one.overlap_by_call):
        with pytest.raises(ValueError) as caught:
            compare(whole)
        assert str(caught.value) == (
            "Pathways.overlap: expected pathways through the same neurons, of calls [[3], [1]], "
            "came ones of calls [[4]]"
        )


def test_maps_are_opened_as_images_are(images) -> None:
    model, inputs, targets = images
    found = pathway_gradient(model, inputs, targets, opening=3)
    plain = pathway_gradient(model, inputs, targets).abs().numpy()
    for row, channel in ((0, 0), (2, 1)):
        slow = textbook_opening(plain[row, channel], torch.ones(3, 3).numpy())
        torch.testing.assert_close(found[row, channel], torch.from_numpy(slow), rtol=0, atol=0)


def test_decoding_finds_what_the_pathway_reads() -> None:
    """Only what chosen neurons read is in the image; rows do not depend on each other."""

    class Halves(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            left, right = functional.relu(inputs[..., :4]), functional.relu(inputs[..., 4:])
            both = torch.stack([left.sum((1, 2, 3)), right.sum((1, 2, 3))], 1)
            return torch.stack([both.sum(1), -both.sum(1)], 1)

    inputs = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    ones = torch.ones(2, 1, 8, 4, dtype=torch.bool)
    chosen = Pathways((ones, ~ones), (ones, ones))
    targets = torch.tensor([0, 0])
    found = decoded(Halves(), inputs, targets, chosen, iterations=60)
    assert found.shape == inputs.shape
    assert bool((found[..., 1:3].mean((1, 2, 3)) > found[..., 5:7].mean((1, 2, 3)) + 0.05).all())
    assert float(found.max()) <= float(inputs.max())
    first = Pathways((ones[:1], ~ones[:1]), (ones[:1], ones[:1]))
    alone = decoded(Halves(), inputs[:1], targets[:1], first, iterations=60)
    torch.testing.assert_close(alone, found[:1], rtol=1e-9, atol=1e-12)
    none = Pathways((ones[:0], ~ones[:0]), (ones[:0], ones[:0]))
    assert decoded(Halves(), inputs[:0], targets[:0], none).shape == (0, 1, 8, 8)
    with pytest.raises(ValueError, match="decoded: expected the pathways of 1 inputs, came 2"):
        decoded(Halves(), inputs[:1], targets[:1], chosen)
    small = inputs[:, :, :4]
    with pytest.raises(
        ValueError, match="decoded: expected pathways through the model's 32 neurons for these"
    ):
        decoded(Halves(), small, targets, chosen)


def test_gates_follow_what_outputs_mean(columns) -> None:
    model, inputs, targets = columns
    outputs = model(inputs).detach()
    values = Value.of(outputs)
    with pytest.raises(Declined, match=r"^dgr: a value has no probabilities, and no cross entropy"):
        dgr(model, inputs, targets, explained=values)
    given = {"iterations": 20, "start": "random"}
    one, other = (dgr(model, inputs, targets, explained=kind, **given) for kind in (None, Labels()))
    assert not torch.allclose(flat(one, 3), flat(other, 3))


def test_refusals(columns) -> None:
    model, inputs, targets = columns
    tanh = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    for name, call in (
        ("pathway_gradient", pathway_gradient),
        ("pathways", pathways),
        ("neuron_mct", neuron_mct),
        ("neuron_intgrad", neuron_intgrad),
        ("dgr", dgr),
        ("greedy_pruning", greedy_pruning),
    ):
        with pytest.raises(Declined, match=f"^{name}: the model calls no ReLU, leaky or not, so there are"):
            call(tanh, inputs, targets)
    told = {
        "expected a selection among neuron_mct, neuron_intgrad, dgr, greedy_pruning, came 'all'": {
            "selection": "all"
        },
        "expected a sparsity from 0 to below 1, came 1$": {"sparsity": 1.0},
        "expected a sparsity from 0 to below 1, came -0.1": {"sparsity": -0.1},
        "expected a sparsity from 0 to below 1, came nan": {"sparsity": float("nan")},
        "expected start 'random' or a finite number above 0, came 'ones'": {"start": "ones"},
        "expected start 'random' or a finite number above 0, came 0": {"start": 0},
        "expected steps of at least 1, came 0": {"steps": 0},
        "expected rounds of at least 1, came 0": {"rounds": 0},
        "expected an odd opening, or 0, came 2": {"opening": 2},
    }
    for sentence, wrong in told.items():
        with pytest.raises(ValueError, match=f"^pathway_gradient: {sentence}"):
            pathway_gradient(model, inputs, targets, **wrong)
    for name, call in (
        ("pathway_gradient", pathway_gradient),
        ("pathways", pathways),
        ("greedy_pruning", greedy_pruning),
    ):
        with pytest.raises(
            Declined, match=f"^{name}: a sparsity of 0.99 leaves none of the model's 24 neurons"
        ):
            call(model, inputs, targets, sparsity=0.99)
    with pytest.raises(ValueError, match=r"expected images .* signals or volumes, came columns"):
        pathway_gradient(model, inputs, targets, opening=3)
