"""How fast a method is, and a word about one that will keep its user waiting."""

import inspect
from contextlib import suppress
from dataclasses import dataclass

from xattr_check.core.method import Method
from xattr_check.core.run import Run
from xattr_check.core.subject import Subject

# Maps that a quick battery of all checks asks for: 730 to 1240 on a table, signals and volumes.
MAPS = 1000
# Seconds: of a battery that one is told of, and of a call until one is.
LONG, PATIENCE = 300.0, 20.0
# So many times as long is told once more.
WORSE = 3.0
# Seconds of a first call that may be those of imports.
START = 10.0
# Whole numbers that do not say how much is computed.
OTHERS = ("memory", "seed")


@dataclass(eq=False)
class Pace:
    """The pace of a method on a subject, of which the run's user is told, and again where it is far slower.

    calls: how many were timed so far. told: the seconds of a battery that the user knows of.
    """

    method: Method
    run: Run
    calls: int = 0
    told: float = LONG / WORSE

    @classmethod
    def of(cls, method: Method, subject: Subject, run: Run) -> "Pace":
        """The one pace of a method of that name on a subject."""
        found: Pace = run.once(f"pace {method.name} {subject.fingerprint}", lambda: cls(method, run))
        return found

    def note(self, seconds: float, count: int) -> None:
        """Note that the maps of so many inputs took so long at least, and warn where all of them will.

        A first call may be slow for other reasons.
        """
        self.calls += 1
        each = seconds / max(1, count)
        if MAPS * each < WORSE * self.told or (self.calls == 1 and seconds < START):
            return
        self.told = MAPS * each
        minutes = max(1, round(self.told / 60))
        self.run.warn(
            f"{self.method.name} takes {each:.2g} s for a map or more, and all checks of a quick run ask for "
            f"about {MAPS}: {minutes} minutes; {self._batches()}{self._cheaper()}"
            "--xattr-checks=NAMES asks for fewer"
        )

    def _batches(self) -> str:
        """What a function has to ask for, to be called on more than one input at a time."""
        if not self.method.takes_one:
            return ""
        return (
            "it is called on one input at a time, and on batches where it has a parameter `context` for the "
            "other inputs of their rows, to be called as model(inputs, **context); "
        )

    def _cheaper(self) -> str:
        """The parameter that says how much is computed, which is the largest number of them."""
        numbers = {}
        with suppress(ValueError, TypeError):  # of what has no signature
            numbers = {
                name: one.default
                for name, one in inspect.signature(self.method.function).parameters.items()
                if type(one.default) is int and one.default > 1 and name not in OTHERS
            }
        if not numbers:
            return ""
        name = max(numbers, key=numbers.__getitem__)
        plain = self.method.name.partition("?")[0]
        return f"{plain}?{name}={max(1, numbers[name] // 4)} takes less than {numbers[name]}, "
