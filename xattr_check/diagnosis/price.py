"""What the matrix of a method takes, from how fast the method and the model are."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Draw
from xattr_check.core.timeout import TimedOut, TimeLimit, counted_time
from xattr_check.errors import MethodError, Undefined

# So many inputs are explained to see how fast a method is, for at most so many seconds.
ASKED, PATIENCE = 4, 20.0
# A first call that took longer is not made again: what it may have waited for besides is little of it.
SLOW = 1.0
# Maps that the checks of a quick run ask of a right method, and of one for each of its mutants: 980 and 1002,
# and 2100 of 39, on a table; of a mutant that all checks judge as many as of the method.
MAPS, MAPS_OF_MUTANT = 1000, 55
# Seconds that the checks take besides, and how many times as long as the model takes for a draw.
CHECKS, PASSES = 15.0, 1600
MUTANT, PASSES_OF_MUTANT = 0.25, 400


@dataclass(frozen=True)
class Price:
    """How fast a method is on a subject.

    each: seconds for a map; at least so many where it was not waited for, 0 where there is none.
    model: seconds of the model for a draw's inputs. reached: whether the maps were waited for.
    """

    method: str
    each: float
    model: float
    reached: bool = True

    def seconds(self, mutants: float, thorough: bool = False) -> float:
        """What one process takes for the method and so many of its mutants, by all checks of a quick run."""
        if not self.each:
            return 0.0
        base = CHECKS + PASSES * self.model + MAPS * self.each
        mutant = MUTANT + PASSES_OF_MUTANT * self.model + MAPS_OF_MUTANT * self.each
        return base + mutants * (base if thorough else mutant)

    @property
    def told(self) -> str:
        """`0.02 s for a map`, with what it is at least where it was not waited for."""
        return f"{'' if self.reached else 'more than '}{self.each:.2g} s for a map"

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Price":
        """The price that a record tells of."""
        return cls(**{item.name: record[item.name] for item in fields(cls)})


def price(method: Method, draw: Draw, patience: float = PATIENCE) -> Price:
    """How fast a method is, by one call on a few of a draw's inputs; no time where it gives no maps.

    patience: seconds after which the maps are not waited for.
    """
    subject = draw.subject
    few = Draw(draw.run, subject, draw.indices[:ASKED], draw.seed)
    explainer = Explainer.of(method, subject, draw.run)

    def explain() -> None:
        with few.scope():
            explainer.raw(subject.model, few.inputs, few.targets)

    def predict() -> None:
        with draw.scope(), torch.no_grad():
            subject.model(draw.inputs.clone())

    model = min(_seconds(predict) for _ in range(2))
    try:
        with TimeLimit(patience):
            taken = _seconds(explain)
            if taken < SLOW:  # most of it may have been imports
                taken = min(taken, _seconds(explain))
    except TimedOut:
        return Price(method.name, patience / len(few.indices), model, reached=False)
    except (MethodError, Undefined):
        return Price(method.name, 0.0, model)
    return Price(method.name, taken / len(few.indices), model)


def affordable(methods: Mapping[str, Method], draw: Draw, seconds: float) -> dict[str, Method]:
    """The cheapest methods that explain a draw's inputs in so many seconds all together, by name.

    How fast each is stays in the store; one that takes a thirtieth of them for a few inputs is not waited
    for.
    """
    patience = seconds / 30
    draw.run.progress(f"asking {len(methods)} methods how long a map takes, for {patience:.2g} s each")
    prices = {name: _stored(one, draw, patience) for name, one in methods.items()}
    chosen, whole = {}, 0.0
    for name, one in sorted(prices.items(), key=lambda pair: pair[1].each):
        whole += one.each * len(draw.indices)
        if one.reached and whole <= seconds:
            chosen[name] = methods[name]
    return {name: one for name, one in methods.items() if name in chosen}


def _stored(method: Method, draw: Draw, patience: float) -> Price:
    """The price of a method, from the store where it is there."""

    def compute() -> dict[str, Tensor]:
        found = price(method, draw, patience)
        return {"price": torch.tensor([found.each, found.model, found.reached], dtype=torch.float64)}

    if not method.needs <= draw.subject.offers:
        return Price(method.name, 0.0, 0.0)
    kept = draw.shared("price", compute, method=method.name, code=method.source, patience=patience)
    each, model, reached = kept["price"].tolist()
    return Price(method.name, each, model, bool(reached))


def _seconds(call: Callable[[], None]) -> float:
    started = counted_time()
    call()
    return counted_time() - started
