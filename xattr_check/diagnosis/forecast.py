"""How long a kill matrix will take, and how far it has come."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xattr_check.diagnosis.price import Price
from xattr_check.wording import duration

# Seconds that one process takes for a method of a price, and its mutants.
Seconds = Callable[[Price], float]


@dataclass(frozen=True)
class Forecast:
    """Which methods are judged, and how long that takes.

    taken, left_out: the prices of those that are judged, in the order in which they were given, and of those
        that do not fit. seconds: what one process takes for a method. processes: which share the work.
    """

    taken: Sequence[Price]
    left_out: Sequence[Price]
    seconds: Seconds
    processes: int

    @classmethod
    def of(
        cls, prices: Sequence[Price], seconds: Seconds, processes: int, minutes: float | None
    ) -> "Forecast":
        """The cheapest methods that fit into so many minutes all together; all for None."""
        taken, whole = set(), 0.0
        for price in sorted(prices, key=seconds):
            whole += seconds(price)
            if minutes is None or (price.reached and whole <= 60 * minutes * processes):
                taken.add(price.method)
        return cls(
            [price for price in prices if price.method in taken],
            [price for price in prices if price.method not in taken],
            seconds,
            processes,
        )

    def corrected(self, took: float, minutes: float) -> "Forecast":
        """Which of those that are left out fit into so many minutes, by what the others took.

        took: seconds of one process for all methods that are taken.
        """
        foretold = sum(map(self.seconds, self.taken))
        factor = took / foretold if foretold and took else 1.0

        def seconds(price: Price) -> float:
            return factor * self.seconds(price)

        return Forecast.of(self.left_out, seconds, self.processes, minutes)

    @property
    def told(self) -> str:
        """`24 methods, about 50 min by 2 processes`."""
        whole = sum(map(self.seconds, self.taken)) / self.processes
        most = "" if all(price.reached for price in self.taken) else "more than "
        count = sum(price.each > 0 for price in self.taken)  # the others give no maps here
        methods = f"{count} method{'' if count == 1 else 's'}"
        by = f" by {self.processes} processes" if self.processes > 1 else ""
        return (
            f"{methods}, {most or 'about '}{duration(whole)}{by}, less where they fail by themselves or were "
            "judged before; fewer --methods, --operators or --seeds take less"
        )

    def why_left_out(self, price: Price) -> str:
        """Why a method is not judged, and how it is all the same."""
        alone = duration(self.seconds(price) / self.processes)
        return (
            f"takes {price.told}, and {'about' if price.reached else 'more than'} {alone} with its mutants, "
            f"which does not fit into --minutes; --methods {price.method} judges it all the same"
        )


@dataclass
class Far:
    """How far work has come, of so many parts that are called something."""

    parts: int
    called: str
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def step(self, parts: int = 1) -> str:
        """So many parts more are done: `(3 of 24 parts, 12 s, about 80 s more)`."""
        self.done += parts
        passed = time.monotonic() - self.began
        left = passed / self.done * (self.parts - self.done)
        more = f", about {duration(left)} more" if left else ""
        return f"({self.done} of {self.parts} {self.called}, {duration(passed)}{more})"
