"""Ways to compute what a small network computes with other modules inside."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.search.cases import (
    ACTIVATIONS,
    KINDS,
    Case,
    affine,
    computed,
    filled,
    is_affine,
    normalisation,
)
from xattr_check.search.modules import Attention, Exponentials, Summed

# Modules between two layers that keep the units apart.
Batchnorm = nn.modules.batchnorm._BatchNorm
# What becomes of the modules of a case behind one of its layers, by its place; None where it cannot be done.
Rewrite = Callable[[list[nn.Module], int, int], list[nn.Module] | None]


def rewritten(case: Case) -> Iterator[tuple[nn.Sequential, str]]:
    """Networks that compute the same for all inputs, and in words what is other.

    Each way there is for the network comes once, at one of its layers, in an order that follows from the
    case's number; that of its attention comes first, which few networks have. There is one at least.
    """
    if attending := _attending_by_steps(list(copy.deepcopy(case.network))):
        yield nn.Sequential(*attending), "the softmax of its attention in single steps"
    rest, start = divmod(case.number, len(REWRITES))
    for turn in range(len(REWRITES)):
        name, rewrite = list(REWRITES.items())[(start + turn) % len(REWRITES)]
        modules = list(copy.deepcopy(case.network))
        places = list(_places(modules))
        if found := rewrite(modules, places[rest % len(places)], case.axes):
            yield nn.Sequential(*found).double().eval().requires_grad_(False), name


def with_dead_unit(case: Case) -> nn.Sequential:
    """A network that computes the same, beside one of whose layers is a ReLU that no input activates.

    It is given h − 2h′ − 1, where h and h′ are ReLUs with the weights of a unit of the layer: never above −1,
    and yet alive as soon as h′ is taken away.
    """
    modules = list(copy.deepcopy(case.network))
    places = list(_places(modules))
    rest, which = divmod(case.number, len(places))
    place = places[which]
    layer: Any = modules[place]
    width, axes = _width(modules, place), _axes(modules, place, case.axes)
    unit, given = [rest % width] * 2, layer.weight.shape[1]
    alive = filled(affine(axes, given, 2, layer.weight.shape[-1]), layer.weight[unit], layer.bias[unit])
    never = filled(affine(axes, 2, 1), torch.tensor([1.0, -2.0]), torch.tensor([-1.0]))
    sent = filled(affine(axes, 1, width), torch.ones(width), torch.zeros(width))
    # Before the layer, so that the last convolution stays the last.
    modules[place] = Summed(nn.Sequential(alive, nn.ReLU(), never, nn.ReLU(), sent), layer)
    return nn.Sequential(*modules).double().eval().requires_grad_(False)


def _places(modules: Sequence[nn.Module]) -> Iterator[int]:
    """Where the layers are whose weights are used once; that to the outputs is one."""
    used = Counter(id(one) for module in modules for one in computed(module))
    yield from (place for place, module in enumerate(modules) if is_affine(module) and used[id(module)] == 1)


def _behind(modules: Sequence[nn.Module], place: int) -> int:
    """Where the layer is that is given what the one at a place sends on through one activation; or 0."""
    used = Counter(id(one) for module in modules for one in computed(module))
    later = range(place + 1, len(modules))
    end = next((other for other in later if is_affine(modules[other])), 0)
    between = modules[place + 1 : end]
    plain = all(not list(module.children()) and used[id(module)] == 1 for module in between)
    return end if end and plain and used[id(modules[end])] == 1 else 0


def _rewired(
    modules: list[nn.Module], place: int, order: Sequence[int], arriving: Tensor, leaving: Tensor
) -> list[nn.Module] | None:
    """Units of a layer (W,) in another order, each with its factors before and behind its activation."""
    end = _behind(modules, place)
    if not end:
        return None
    with torch.no_grad():
        for module in modules[place:end]:
            if is_affine(module) or isinstance(module, Batchnorm):
                for name, values in [*module.named_parameters(), *module.named_buffers()]:
                    if values.is_floating_point():
                        factors = arriving if is_affine(module) else torch.ones_like(arriving)
                        rows = values[list(order)] * factors.reshape(-1, *[1] * (values.ndim - 1))
                        _put(module, name, rows)
                _measure(module, len(order))
        last, width = modules[end], len(set(order))
        weight: Tensor = last.weight  # type: ignore[assignment]
        apart = weight.unflatten(1, (width, -1))[:, list(order)]
        factors = leaving.reshape(1, -1, *[1] * (apart.ndim - 2))
        _put(last, "weight", (apart * factors).flatten(1, 2))
        _measure(last, weight.shape[1] // width * len(order), given=True)
    return modules


def _put(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a module other weights or statistics, which may be of another size."""
    kept = nn.Parameter(values, requires_grad=False) if name in module._parameters else values
    setattr(module, name, kept)


def _measure(module: nn.Module, size: int, given: bool = False) -> None:
    """Tell a module how many units it has, or is given."""
    names = {True: ("in_features", "in_channels"), False: ("out_features", "out_channels", "num_features")}
    for name in names[given]:
        if hasattr(module, name):
            setattr(module, name, size)


def _width(modules: Sequence[nn.Module], place: int) -> int:
    return len(modules[place].weight)  # type: ignore[arg-type]


def split(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """The first unit becomes two that send on a quarter and three quarters."""
    width = _width(modules, place)
    leaving = torch.tensor([0.25, 0.75, *[1.0] * (width - 1)]).double()
    return _rewired(modules, place, [0, *range(width)], torch.ones(width + 1).double(), leaving)


def permuted(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """The units are in the reverse order."""
    width = _width(modules, place)
    one = torch.ones(width).double()
    return None if width == 1 else _rewired(modules, place, list(range(width))[::-1], one, one)


def rescaled(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """Twice as much arrives at ReLUs, and half of what they send on goes on."""
    between = modules[place + 1 : _behind(modules, place)]
    if any(isinstance(one, ACTIVATIONS) and not isinstance(one, nn.ReLU) for one in between):
        return None
    if any(isinstance(one, Batchnorm) for one in between):
        return None
    two = torch.full((_width(modules, place),), 2.0).double()
    return _rewired(modules, place, range(len(two)), two, 1 / two)


def _inserted(modules: list[nn.Module], place: int, axes: int, *others: nn.Module) -> list[nn.Module]:
    return [*modules[: place + 1], *others, *modules[place + 1 :]]


def _axes(modules: Sequence[nn.Module], place: int, axes: int) -> int:
    """The ordered axes of what a layer sends on."""
    return 0 if isinstance(modules[place], nn.Linear) else axes


def factored(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """Behind the layer follow a matrix and its inverse, as layers."""
    width, axes = _width(modules, place), _axes(modules, place, axes)
    matrix = 2 * (torch.eye(width) + torch.diag(torch.ones(width - 1), 1)).double()
    one, other = (
        filled(affine(axes, width, width), values, torch.zeros(width))
        for values in (matrix, torch.linalg.inv(matrix))
    )
    return _inserted(modules, place, axes, one, other)


def signed(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """Behind the layer z follows relu(z) − relu(−z)."""
    width, axes = _width(modules, place), _axes(modules, place, axes)
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    one = filled(affine(axes, width, 2 * width), both, torch.zeros(2 * width))
    other = filled(affine(axes, 2 * width, width), both.T, torch.zeros(width))
    return _inserted(modules, place, axes, one, nn.ReLU(), other)


def normalised(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """Behind the layer, whose outputs are doubled and shifted, follows a BatchNorm that undoes it."""
    width = _width(modules, place)
    norm = normalisation(_axes(modules, place, axes), width).double()
    layer = modules[place]
    with torch.no_grad():
        norm.running_var.fill_(4 - norm.eps)
        norm.running_mean.fill_(1.0)
        for parameter in layer.parameters():
            parameter.mul_(2)
        layer.bias.add_(1)  # type: ignore[operator]
    return _inserted(modules, place, axes, norm)


def repeated(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """What the layer's ReLUs send on goes through ReLUs once more, and through an identity."""
    for other in range(place + 1, len(modules)):
        if isinstance(modules[other], nn.ReLU):
            return _inserted(modules, other, axes, nn.ReLU(), nn.Identity())
    return None


def lifted(modules: list[nn.Module], place: int, axes: int) -> list[nn.Module] | None:
    """What the layer to the outputs is given has one added to it before, which its biases take off again."""
    last = modules[-1]
    end = next((other for other, one in enumerate(modules) if isinstance(one, nn.Flatten)), len(modules) - 1)
    start = end - isinstance(modules[end - 1], KINDS["mean"]) if axes else end
    if not start:
        return None
    before = [module for module in modules[:start] if not isinstance(module, Attention)]
    layers = [one for module in before for one in computed(module) if is_affine(one)]
    width = len(layers[-1].weight)  # type: ignore[arg-type]
    one = filled(affine(axes, width, width), torch.eye(width), torch.ones(width))
    with torch.no_grad():
        last.bias -= last.weight.sum(1)  # type: ignore[operator]
    return [*modules[:start], one, *modules[start:]]


def _attending_by_steps(modules: list[nn.Module]) -> list[nn.Module]:
    """The modules with the softmax of attention computed by exponentials; none where there is none."""
    attention = [one for module in modules for one in module.modules() if isinstance(one, Attention)]
    for one in attention:
        one.shares = Exponentials()
    return modules if attention else []


# By what they do, in words.
REWRITES: dict[str, Rewrite] = {
    "one added to features, and taken off by the layer to the outputs": lifted,
    "a BatchNorm unfolded": normalised,
    "z as relu(z) − relu(−z)": signed,
    "a matrix and its inverse inserted": factored,
    "a unit split": split,
    "units permuted": permuted,
    "ReLUs rescaled": rescaled,
    "ReLUs repeated": repeated,
}
