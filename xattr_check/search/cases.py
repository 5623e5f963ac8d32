"""Small networks with inputs, as hypothesis draws and shrinks them."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xattr_check.search.modules import Attention, Shortcut

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

# How many axes of the inputs of a layout have an order, by its name; what is not here has no networks.
AXES = {"columns": 0, "signal": 1, "image": 2, "volume": 3}
# Elementwise, and never larger in magnitude than what they are given.
ACTIVATIONS = (nn.ReLU, nn.Hardtanh, nn.Tanh, nn.ELU, nn.GELU)
# As often as they are drawn: what methods do with kinks is told by ReLUs.
DRAWN = (*(nn.ReLU,) * 4, *ACTIVATIONS[1:])
# An axiom chooses by a number below it.
NUMBERS = 120
# Numbers are whole ones of these parts, so that they are printed as they are; the most of weights, of inputs.
PART, WEIGHT, INPUT = 4, 2, 3
# A neighbour of a case has all its numbers changed by so much of themselves, and of one part.
NEAR = 0.03

# The modules of a kind over no ordered axes, one, two and three.
KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "affine": (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "normalisation": (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "largest": (nn.Identity, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "sum": (nn.Identity, nn.LPPool1d, nn.LPPool2d, nn.LPPool3d),
    "average": (nn.Identity, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    "mean": (nn.Identity, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
}


@dataclass(frozen=True)
class Sizes:
    """The most hidden layers, units of one, columns, channels, and features along an axis.

    attention: whether there may be attention behind a layer.
    """

    depth: int = 3
    width: int = 3
    columns: int = 4
    channels: int = 3
    side: int = 4
    attention: bool = False


@dataclass(frozen=True)
class Case:
    """A network in float64 and eval mode, which asks for no gradient, and two inputs (2, *F) for it.

    number: what an axiom chooses by, where it has to choose. axes: of the inputs, those that have an order.
    """

    network: nn.Sequential
    inputs: Tensor
    number: int
    axes: int

    def near(self, number: int) -> "Case":
        """A neighbour, all of whose numbers differ a little: what rests on a tie does not hold for it."""
        generator = torch.Generator().manual_seed(number)

        def moved(values: Tensor) -> Tensor:
            first, second = torch.rand(2, *values.shape, generator=generator, dtype=values.dtype) + 0.5
            found: Tensor = values * (1 + NEAR * first) + NEAR / PART * second
            return found

        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for _, tensor in numbers_of(network):
                tensor.copy_(moved(tensor))
        return replace(self, network=network, inputs=moved(self.inputs))


def numbers_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights and statistics of a network, each once, by name."""
    yield from network.named_parameters()
    yield from ((name, one) for name, one in network.named_buffers() if one.is_floating_point())


def computed(module: nn.Module) -> Sequence[nn.Module]:
    """The modules in it that hold no others, as often as they are computed."""
    children = list(module if isinstance(module, nn.Sequential) else module.children())
    return [inner for child in children for inner in computed(child)] if children else [module]


def is_affine(module: nn.Module) -> bool:
    """Whether it is a linear or convolutional layer."""
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def units_of(network: nn.Module) -> int:
    """Its hidden units; the channel of a convolution is one."""
    widths = [len(one.weight) for one in network.modules() if is_affine(one)]  # type: ignore[arg-type]
    return sum(widths[:-1])


def attends(case: Case) -> bool:
    """Whether outputs would be others if all attention were on all places alike."""
    heads = [one for one in case.network.modules() if isinstance(one, Attention)]
    outputs, queries = case.network(case.inputs), [one.query.weight.clone() for one in heads]
    for one in heads:
        one.query.weight.zero_()
    alike = case.network(case.inputs)
    for one, weight in zip(heads, queries, strict=True):
        one.query.weight.copy_(weight)
    return not torch.allclose(outputs, alike)


def affine(axes: int, size: int, width: int, kernel: int = 1) -> Any:
    """A linear layer over no ordered axes, or a convolution over so many, of the size of its inputs."""
    if not axes:
        return nn.Linear(size, width)
    return KINDS["affine"][axes](size, width, kernel, padding=kernel // 2)


def normalisation(axes: int, width: int) -> Any:
    """A BatchNorm over so many ordered axes."""
    return KINDS["normalisation"][axes](width)


@dataclass(frozen=True)
class Hidden:
    """What a hidden layer is made of, in numbers enough for the largest.

    kind: PLAIN, or what stands beside the layer. again: whether it is the one before once more. norm: of a
    BatchNorm or of attention.
    """

    kind: int
    activation: int
    again: bool
    weight: Tensor
    bias: Tensor
    norm: Tensor


PLAIN, NORMALISED, SHORTCUT, LARGEST, AVERAGE, ATTENDED = range(6)
# As often as they are drawn where there is to be attention.
ATTENDING = (*range(ATTENDED), *[ATTENDED] * ATTENDED)
# Places that attention is over at most.
PLACES = 16
# Queries are so many times smaller than other weights: where one place is all, nothing changes with inputs.
GENTLE = 64


FULL, WITH_ATTENTION = Sizes(), Sizes(attention=True)


def cases(layout: str, outputs: int, sizes: Sizes = FULL) -> "SearchStrategy[Case]":
    """Cases of inputs of a layout among `AXES`, with networks of so many outputs.

    How many numbers are drawn for a part does not depend on the other parts, so that each shrinks by itself.
    """
    from hypothesis import strategies

    axes, whole = AXES[layout], strategies.integers
    widest = max(sizes.width, sizes.channels)
    kinds = ATTENDING if sizes.attention else range(ATTENDED)

    def values(draw: "DrawFn", shape: tuple[int, ...], most: int) -> Tensor:
        count, ends = torch.Size(shape).numel(), whole(-most * PART, most * PART)
        found = draw(strategies.lists(ends, min_size=count, max_size=count))
        return torch.tensor(found, dtype=torch.float64).reshape(shape) / PART

    @strategies.composite
    def hidden(draw: "DrawFn") -> Hidden:
        kind, kernel = kinds[draw(whole(0, len(kinds) - 1))], 1 + 2 * draw(whole(0, min(axes, 1)))
        activation, again = draw(whole(0, len(DRAWN) - 1)), draw(whole(0, 4)) == 4
        weight = values(draw, (sizes.width, widest if axes else sizes.width, *[kernel] * axes), WEIGHT)
        norm = values(draw, (4, sizes.width if kind in (NORMALISED, ATTENDED) else 0), WEIGHT)
        return Hidden(kind, activation, again, weight, values(draw, (sizes.width,), WEIGHT), norm)

    @strategies.composite
    def case(draw: "DrawFn") -> Case:
        number, width = draw(whole(0, NUMBERS - 1)), draw(whole(1, sizes.width))
        layers = draw(strategies.lists(hidden(), max_size=sizes.depth))
        flat = bool(axes and draw(whole(0, 1)))
        head = values(draw, (outputs, widest if axes else sizes.width), WEIGHT)
        bias, places = values(draw, (outputs,), WEIGHT), values(draw, (sizes.side**axes if flat else 0,), 1)
        first = Tensor()
        if axes:
            shape = (draw(whole(1, sizes.channels)), *(draw(whole(2, sizes.side)) for _ in range(axes)))
            inputs = values(draw, (2, *shape), INPUT)
        else:
            # Each column with its weights and its inputs, so that one can be dropped without the others.
            most = [*[WEIGHT] * max(sizes.width, outputs), INPUT, INPUT]
            column = strategies.tuples(*(whole(-one * PART, one * PART) for one in most))
            found = draw(strategies.lists(column, min_size=1, max_size=sizes.columns))
            first = torch.tensor(found, dtype=torch.float64).T / PART
            inputs = first[-2:].clone()
        modules, size, sides = _modules(layers, width, axes, inputs.shape[1:])
        last = nn.Linear(size, outputs)
        weight = head[:, :size] if axes or modules else first[:outputs]
        if axes and flat:
            weight = (weight[..., None] * (places[: sides.numel()] + 1)).flatten(1)
            last = nn.Linear(weight.shape[1], outputs)
        elif axes:
            modules.append(KINDS["mean"][axes](1))
        modules = [*modules, *([nn.Flatten()] if axes else []), filled(last, weight, bias)]
        network = nn.Sequential(*modules).double().eval().requires_grad_(False)
        if not axes and layers:
            next(network.parameters()).copy_(first[:width])
        return Case(network, inputs, number, axes)

    return case()


def _modules(
    layers: Sequence[Hidden], width: int, axes: int, shape: torch.Size
) -> tuple[list[nn.Module], int, torch.Size]:
    """Modules of hidden layers for inputs (N, *shape), the units of the last, and the sides of its maps."""
    found: list[nn.Module] = []
    size, sides, before = shape[0], shape[1:], list[nn.Module]()
    for one in layers:
        if one.again and before:
            found += before
            continue
        given = min(size, one.weight.shape[1])
        map_ = affine(axes, size, width, one.weight.shape[-1] if axes else 1)
        weight = torch.zeros(map_.weight.shape, dtype=torch.float64)
        weight[:, :given] = one.weight[:width, :given]
        modules = [filled(map_, weight, one.bias[:width])]
        if one.kind == NORMALISED:
            norm = normalisation(axes, width).double()
            norm.running_mean.copy_(one.norm[0, :width])
            norm.running_var.copy_(one.norm[1, :width].abs() + 1)
            modules.append(filled(norm, one.norm[2, :width], one.norm[3, :width]))
        modules.append(DRAWN[one.activation]())
        before = modules if size == width else []
        found += [Shortcut(nn.Sequential(*modules))] if one.kind == SHORTCUT and before else modules
        size = width
        if axes and one.kind in (LARGEST, AVERAGE) and min(sides) > 1:
            found.append(KINDS["largest" if one.kind == LARGEST else "average"][axes](2))
            sides = torch.Size(side // 2 for side in sides)
        if one.kind == ATTENDED and sides.numel() <= PLACES:
            found.append(_attention(one.norm, size if axes else 1))
    return found, size, sides


def _attention(numbers: Tensor, channels: int) -> Attention:
    """Attention with weights of queries, keys and values, and biases of values (4, channels or more)."""
    query, key, value, bias = numbers[:, :channels]
    query = query / GENTLE
    none = torch.zeros(1)
    layers = [nn.Conv1d(channels, 1, 1) for _ in range(2)]
    # The next layer mixes the channels.
    layers.append(nn.Conv1d(channels, channels, 1, groups=channels))
    for layer, weight, own in zip(layers, (query, key, value), (none, none, bias), strict=True):
        filled(layer, weight, own)
    return Attention(layers[0], layers[1], layers[2], nn.Softmax(2))


def filled(layer: Any, weight: Tensor, bias: Tensor) -> nn.Module:
    """A layer in float64 with these weights, as many as it has, and biases."""
    layer.double().requires_grad_(False)
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    layer.bias.copy_(bias)
    found: nn.Module = layer
    return found
