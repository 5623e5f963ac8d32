"""The search for the smallest network and inputs on which a statement about attributions does not hold."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from random import Random
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from xattr_check.core import Explainer, Run, Subject, Undefined
from xattr_check.core.faults import expect_usable
from xattr_check.core.state import preserved_generators
from xattr_check.errors import MethodError
from xattr_check.search.cases import AXES, FULL, WITH_ATTENTION, Case, Sizes, attends, cases

# How many networks are drawn in a run of a budget.
EXAMPLES = {"quick": 25, "standard": 200, "full": 1000}
# One of so many is drawn besides with attention, which little is found by that others do not show.
ATTENTION = 3
# How many are tried at most to make the first that is found smaller; of attention one of so many of them.
SHRINKS = 300
# What is tried first for a small one: no hidden layer, and then one.
SMALL = tuple(Sizes(depth, width, columns=2, channels=1, side=2) for depth, width in ((0, 1), (1, 1), (1, 3)))
# Networks of which a method explains none, after which it is not asked again.
REFUSALS = 30
# Neighbours of a network on which the statement has to fail as well.
NEIGHBOURS = (1, 2)
# Inputs of the subject that stands for the networks of one shape, where methods look for other data.
ROWS = 8

# (network, inputs (n, *F), target, 0 where none is said) -> maps (n, *F) or (n, *map_shape).
Explain = Callable[..., Tensor]


@dataclass(frozen=True)
class Violation:
    """How far a statement is from holding for a network.

    gap: by how much the two sides of its equation differ. allowed: by how much they may, for rounding.
    equation: with its numbers. networks, inputs: of which it speaks, by name, inputs (*F) each; target: the
    output that is explained.
    """

    gap: float
    allowed: float
    equation: str = ""
    networks: Mapping[str, nn.Module] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    target: int = 0

    @property
    def ratio(self) -> float:
        """The gap in what is allowed; more than 1 breaks the statement."""
        return self.gap / self.allowed


# What an axiom says of one case and a method; None where it says nothing of the case.
Statement = Callable[[Case, Explain], Violation | None]


@dataclass
class Search:
    """A search for a case on which a method breaks a statement.

    outputs: of the networks. shrink: whether what is found is made smaller, which takes longer.
    ratios: of the cases that were drawn, in their order. refused: why the method did not explain others.
    """

    statement: Statement
    method: Explainer
    run: Run
    seed: int
    outputs: int = 2
    shrink: bool = True
    ratios: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _explainers: dict[torch.Size, Explainer] = field(default_factory=dict)
    _known: dict[bytes, bool | None] = field(default_factory=dict)
    _counts: bool = True
    _attention: bool = False

    def smallest(self) -> Violation | None:
        """The smallest violation that was found, None where there was none.

        Raises Undefined where there are no networks for such a subject, or the method explains none of them.
        """
        layout = self.method.subject.layout.name
        if layout not in AXES or self.method.subject.context:
            raise Undefined(f"there are no small networks of {layout} to search")
        if self.method.method.stochastic:
            raise Undefined("on one network, what differs is not told from what is drawn at random")
        drawn = ((self._find(sizes, shrink=False), sizes) for sizes in (FULL, WITH_ATTENTION))
        case, largest = next((one for one in drawn if one[0]), (None, FULL))
        if case is None and not self.ratios:
            told = f"of small random networks, the method {self.refused[0]}" if self.refused else ""
            raise Undefined(told or "none of the small networks that were drawn can tell")
        if case is None:
            return None
        if self.shrink:
            # A network of few numbers is made smaller in less time, and most defects show on one.
            attention = largest.attention  # which is behind a layer
            small = (replace(sizes, attention=attention) for sizes in SMALL if sizes.depth or not attention)
            tried = (self._find(sizes, shrink=True) for sizes in small)
            case = next((one for one in tried if one), None) or self._find(largest, shrink=True) or case
        return self.statement(case, self.explain)

    def _find(self, sizes: Sizes, shrink: bool) -> Case | None:
        """A case that breaks the statement, the smallest that was tried where it is to shrink."""
        from hypothesis import Phase, Verbosity, find, reject, settings
        from hypothesis.errors import NoSuchExample, Unsatisfiable

        # All is said, so that a profile of the user's own tests changes nothing, and nothing is kept on disk.
        count = EXAMPLES["quick" if shrink and sizes.depth < FULL.depth else self.run.budget]
        chosen = settings(
            max_examples=count if shrink or not sizes.attention else count // ATTENTION,
            database=None, deadline=None, derandomize=False, verbosity=Verbosity.quiet, print_blob=False,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        )  # fmt: skip
        self._known, self._counts, self._attention = {}, not shrink, sizes.attention

        def breaks(case: Case) -> bool:
            found = self._breaks(case)
            if found is None:
                reject()  # another one is drawn for it
            return found

        drawn = cases(self.method.subject.layout.name, self.outputs, sizes)
        with _without_constants(), preserved_generators(self.seed):  # modules that are made draw weights
            try:
                return find(drawn, breaks, settings=chosen, random=Random(self.seed))
            except (NoSuchExample, Unsatisfiable):
                return None

    def _breaks(self, case: Case) -> bool | None:
        """Whether a case and its neighbours break the statement; None where nothing can be said of it."""
        key = _key(case)
        if key not in self._known:
            found = any(self._known.values())
            most = SHRINKS // ATTENTION if self._attention else SHRINKS
            if (found and len(self._known) > most) or (not self.ratios and len(self.refused) >= REFUSALS):
                return False
            # Without attention that does something, a network is one of those that were drawn before.
            ratio = None if self._attention and not attends(case) else self._ratio(case)
            if ratio is not None and ratio > 1:
                # Rounding takes a unit across its kink at one place, and not next to it; a defect stays.
                near = [self._ratio(case.near(number)) for number in NEIGHBOURS]
                ratio = min([ratio, *(1.0 if one is None else one for one in near)])
            if ratio is not None and self._counts:
                self.ratios.append(ratio)
            self._known[key] = None if ratio is None else ratio > 1
        return self._known[key]

    def _ratio(self, case: Case) -> float | None:
        try:
            found = self.statement(case, self.explain)
        except (MethodError, Undefined) as error:
            self.refused.append(str(error).removeprefix("the method "))
            return None
        return None if found is None else found.ratio

    def explain(self, network: nn.Module, inputs: Tensor, target: int = 0) -> Tensor:
        """The maps of a network, called as carefully as any. Raises MethodError and Undefined."""
        shape = inputs.shape[1:]
        if shape not in self._explainers:
            self._explainers[shape] = Explainer(self.method.method, self._subject(shape), self.run)
        explainer = self._explainers[shape]
        device = self.run.device
        network, inputs = network.to(device), inputs.to(device).contiguous()
        targets = torch.full((len(inputs),), target, device=device)
        maps = explainer.raw(network, inputs, targets)
        return expect_usable(maps, inputs, explainer.subject.layout).cpu()

    def _subject(self, shape: torch.Size) -> Subject:
        """What stands for the subject of networks of a shape: methods ask it for layout and data."""
        layout = self.method.subject.layout.name

        def compute() -> Subject:
            generator = torch.Generator().manual_seed(0)

            def reference(count: int, generator: torch.Generator) -> Tensor:
                return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

            model = nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), self.outputs)).double()
            targets = torch.zeros(ROWS, dtype=torch.int64)
            inputs = reference(ROWS, generator)
            return Subject("network", model, inputs, targets, reference, layout=layout).to(self.run.device)

        found: Subject = self.run.once(f"small {layout} {tuple(shape)} {self.outputs}", compute)
        if missing := sorted(self.method.method.needs - found.offers):
            raise Undefined(f"needs {' and '.join(missing)}")
        return found


@contextmanager
def _without_constants() -> Iterator[None]:
    """A scope in which the same is drawn whatever is imported.

    Hypothesis else draws numbers that it finds in the modules of whoever's project it runs in, one time in
    twenty, which changes what comes after them.
    """
    providers: Any = import_module("hypothesis.internal.conjecture.providers")
    try:
        none = {
            "_get_local_constants": providers.Constants,
            "CONSTANTS_CACHE": type(providers.CONSTANTS_CACHE)(1024),
        }
    except AttributeError:  # versions that draw none
        yield
        return
    with patch.multiple(providers, **none):
        yield


def _key(case: Case) -> bytes:
    """What tells a case from others."""
    numbers = [one.numpy().tobytes() for one in (*case.network.state_dict().values(), case.inputs)]
    return b"".join([repr((case.network, case.number, case.inputs.shape)).encode(), *numbers])
