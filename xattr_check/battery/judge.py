"""One method against one check, as often as a test asks."""

from dataclasses import dataclass, field
from typing import Any

from xattr_check.battery.battery import Beside, item
from xattr_check.config.loaders import load_method
from xattr_check.config.selection import select
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.checks import Axiom
from xattr_check.core.method import Method
from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Verdict
from xattr_check.errors import UsageError


@dataclass(eq=False)
class Judge:
    """Gives verdicts on a subject: `judge(explain, "null_feature")`.

    settings: gates, claims and expected failures. run: what verdicts share, such as the maps of a method.
    """

    settings: Settings
    subject: Subject
    run: Run
    _methods: dict[int, tuple[Any, Method]] = field(default_factory=dict)

    def __call__(self, method: Any, check: str | Axiom) -> Verdict:
        """The verdict on a method, which never raises for what the method does.

        method: a function explain(model, inputs, targets), a Method or a spec. check: the name of one, of any
        budget, with parameters if it has some: `deletion?fill=blur`; or a check that need not be installed.
        Raises UsageError for what is not there.
        """
        chosen = check if isinstance(check, Axiom) else self._check(check)
        beside = Beside.installed()
        return item(self.settings, self._method(method), chosen, self.subject, beside).judge(self.run)

    def _method(self, given: Any) -> Method:
        """The same Method for the same function, so that its maps are computed once."""
        if id(given) not in self._methods:
            # What was given is kept beside it: its id must not be given to another one.
            self._methods[id(given)] = given, load_method(given)
        return self._methods[id(given)][1]

    @staticmethod
    def _check(name: str) -> Axiom:
        chosen = select(name, registry.checks(), "full", option="check")
        if len(chosen) != 1:
            raise UsageError(
                option="check",
                value=name,
                expected="one check",
                came=str(len(chosen)),
                hint="ask for one at a time",
            )
        return chosen[0]
