"""Networks and inputs as a program that needs nothing but torch."""

import inspect
from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from xattr_check.search.cases import computed, numbers_of

HEADER = "import torch\nfrom torch import Tensor, nn\n"


def program(networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor], target: int) -> str:
    """Python that makes them under their names, and prints the target's output for each input."""
    own = [
        module
        for network in networks.values()
        for module in network.modules()
        if type(module).__module__.partition(".")[0] != "torch"
    ]
    parts = [HEADER, *(inspect.getsource(kind) for kind in dict.fromkeys(map(type, own)))]
    parts += [_network(name, network) for name, network in networks.items()]
    parts += [f"{name} = {_literal(values)}\n" for name, values in inputs.items()]
    calls = ", ".join(f"{one}({other}[None])[0, {target}]" for one, other in _pairs(networks, inputs))
    return "\n".join([*parts, f"print({calls})"])


def _pairs(networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Which network is given which input: each its own where there are as many, else every one."""
    if len(networks) == len(inputs):
        return list(zip(networks, inputs, strict=True))
    return [(one, other) for one in networks for other in inputs]


def _network(name: str, network: nn.Module) -> str:
    """Statements that make modules that are used more than once, the network, and its numbers."""
    names: dict[int, str] = {}
    lines = []
    counted = Counter(id(module) for module in computed(network))
    for module in computed(network):
        if counted[id(module)] > 1 and id(module) not in names:
            names[id(module)] = f"{name}_{len(names)}"
            lines.append(f"{names[id(module)]} = nn.{module!r}")
    lines.append(f"{name} = {_expression(network, names)}.double().eval()")
    lines += [
        f'{name}.get_parameter("{key}").data = {_literal(values)}'
        if isinstance(values, nn.Parameter)
        else f'{name}.get_buffer("{key}").copy_({_literal(values)})'
        for key, values in numbers_of(network)
    ]
    return "\n".join(lines) + "\n"


def _expression(module: nn.Module, names: Mapping[int, str]) -> str:
    """How a module is made."""
    if id(module) in names:
        return names[id(module)]
    if isinstance(module, nn.Sequential):
        return f"nn.Sequential({', '.join(_expression(one, names) for one in module)})"
    if type(module).__module__.partition(".")[0] == "torch":
        return f"nn.{module!r}"
    inner = [_expression(one, names) for one in module.children()]
    given = [_literal(one) for one in module.buffers(recurse=False)]
    return f"{type(module).__name__}({', '.join([*given, *inner])})"


def _literal(values: Tensor) -> str:
    kind = "" if not values.is_floating_point() else ", dtype=torch.float64"
    return f"torch.tensor({values.tolist()}{kind})"
