"""What the searches for a counterexample have in common."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from xattr_check.core import Draw, Explainer, Measurement
from xattr_check.search.cases import Case, units_of
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.search import Explain, Search, Statement, Violation
from xattr_check.search.snippet import program

# Points of a quadrature that is fine enough.
POINTS = 50


def search(
    statement: Statement, method: Explainer, draw: Draw, check: str, *, outputs: int = 2
) -> Measurement:
    """The gap between the sides of an equation, in what rounding allows, for each network that was drawn.

    The last one is that of the smallest network, where one breaks the statement.
    """
    # Of a control no more is asked than whether it breaks the statement.
    control = method.method.control is not None
    found = Search(statement, method, draw.run, draw.seed, outputs, shrink=not control)
    smallest = found.smallest()
    rows = torch.tensor(found.ratios, dtype=torch.float64)
    if smallest is None:
        finding = f"none of {len(rows)} small networks breaks it"
        return Measurement(rows, finding)
    units = units_of(next(iter(smallest.networks.values())))
    count = f"{units} hidden unit{'' if units == 1 else 's'}" if units else "no hidden units"
    finding = f"does not hold for a network of {count}: {smallest.equation}"
    return Measurement(rows, finding, example=_example(smallest, method, draw, check))


def search_informed(statement: Statement, method: Explainer, draw: Draw, check: str) -> Measurement:
    """As `search`, of a statement of which a method that looks at no network tells nothing."""
    informative: list[bool] = []

    def watched(case: Case, explain: Explain) -> Violation | None:
        found = statement(case, explain)
        if not any(informative):
            informative.append(_depends(case, explain))
        return found

    found = search(watched, method, draw, check)
    if any(informative):
        return found
    return replace(found, uninformative="the method gives the same map whatever the network")


def _depends(case: Case, explain: Explain) -> bool:
    """Whether the map of an input changes with the numbers of the network."""
    x = case.inputs[:1]
    return not torch.equal(*(explain(network, x) for network in (case.network, case.near(1).network)))


def _example(smallest: Violation, method: Explainer, draw: Draw, check: str) -> str:
    """The program that makes the networks and inputs, the equation, and how to find them again."""
    run = draw.run
    again = (
        f"pytest --xattr-method='{method.name}' --xattr-subject='{draw.subject.name}' --xattr-checks={check} "
        f"--xattr-seed={run.seed} --xattr-budget={run.budget}"
    )
    code = program(smallest.networks, smallest.inputs, smallest.target)
    return f"{code}\n# Of {method.name}: {smallest.equation}\n# Again: {again}"


def compare(
    case: Case,
    explain: Explain,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    sizes: Magnitudes | None = None,
) -> Violation:
    """How far the maps of two networks are apart, on the same input or each on its own.

    networks: the case's own and another one. inputs: (*F) each, one or two. sizes: of the case's network on
        the inputs, where they are known.
    """
    names = list(networks)
    given = [*inputs, *inputs][: len(names)] if len(inputs) == 1 else list(inputs)
    one, other = maps = [
        explain(networks[name], inputs[which][None]) for name, which in zip(names, given, strict=True)
    ]
    gaps = (one.double() - other.double()).flatten()
    place = int(gaps.abs().argmax())
    equation = ", ".join(
        f"a({name}, {which}) = {figure(values.flatten()[place])}"
        for name, which, values in zip(names, given, maps, strict=True)
    )
    sizes = sizes or Magnitudes.of(case.network, torch.stack([*inputs.values()]))
    allowed = sizes.rounding(*maps)
    equation = f"{equation} at number {place} of the map"
    return Violation(float(gaps[place].abs()), allowed, equation, networks, inputs)


def features(case: Case) -> Tensor:
    """The number of the feature that each number of an input belongs to, as broadcasts to (N, *F)."""
    shape = case.inputs.shape[2:] if case.axes else case.inputs.shape[1:]
    numbers = torch.arange(torch.Size(shape).numel()).reshape(shape)
    return numbers[None] if case.axes else numbers


def figure(value: float | Tensor) -> str:
    """A number of an equation."""
    return f"{float(value):.6g}"


def total(maps: Tensor) -> float:
    """The sum over maps."""
    return float(maps.double().sum())
