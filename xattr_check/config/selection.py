"""Selection of checks by an expression over their names and families."""

import re
from collections.abc import Mapping, Sequence, Set
from itertools import takewhile
from typing import get_args, get_origin

from xattr_check.config.specs import read_values, split
from xattr_check.core.checks import Axiom
from xattr_check.core.run import BUDGETS, Budget
from xattr_check.errors import UsageError
from xattr_check.wording import nearest

# A value of the last parameter of a check, and the words that follow it behind commas.
LISTED = re.compile(r"(\w+)\?([^\s(),]*?)(\w+)=([^\s(),&=]+)((?:\s*,\s*[^\s(),?&=]+)+)")
# A check with parameters, deletion?fill=blur&by=regions; a name, which may be an operator; a sign.
TOKEN = re.compile(r"\w+\?[^\s(),]*|[^\W\d]\w*|[(),]")
SIGNS = {"(", ")", ",", "and", "or", "not"}


def select(
    expression: str | None, checks: Mapping[str, Axiom], budget: Budget, option: str = "--xattr-checks"
) -> list[Axiom]:
    """The checks that an expression selects: those that it names, and of others those that the budget allows.

    expression: names and families joined by `or`, `and`, `not` and parentheses; a comma is an `or`.
        A name may set parameters of its check, as in `deletion?fill=blur`, which is then a check of its own.
        None selects all.
    option: what a message says that the expression was given to.

    Raises UsageError for unknown names, for what is not such an expression, and where nothing is left.
    """
    affordable = [check for check in checks.values() if _is_affordable(check, budget)]
    if expression is None or not expression.strip():
        return affordable
    try:
        chosen, named = _choose(expression, checks)
    except UsageError as error:
        raise error.about(option, expression).advising(_several_values(expression, checks)) from None
    left = [check for check in chosen if check.name in named or _is_affordable(check, budget)]
    if not left:
        names = ", ".join(f"{check.name} ({check.cost})" for check in chosen)
        raise UsageError(
            f"too small for {names}",
            option="--xattr-budget",
            value=budget,
            hint="pass a larger --xattr-budget, or name the checks",
        )
    return left


def _is_affordable(check: Axiom, budget: Budget) -> bool:
    return list(BUDGETS).index(check.cost) <= list(BUDGETS).index(budget)


def _choose(expression: str, checks: Mapping[str, Axiom]) -> tuple[list[Axiom], Set[str]]:
    """The checks that an expression selects, of any cost, and the names in it. Raises UsageError."""
    tokens = _tokenize(expression)
    variants = {token: _with_parameters(token, checks) for token in tokens if "?" in token}
    if variants:
        known = {**checks, **{check.name: check for check in variants.values()}}
        checks = dict(sorted(known.items()))
    groups = _group(checks) | {token: {check.name} for token, check in variants.items()}
    names = _Reader(tokens, groups, checks.keys()).read()
    unknown = next((token for token in tokens if token not in SIGNS | groups.keys()), None)
    if unknown is not None:
        raise UsageError(f"no check or family {unknown!r}", hint=nearest(unknown, groups))
    if not names:
        raise UsageError(f"selects none of the {len(checks)} checks")
    # A family of the same name is what its word stands for as well.
    families = {check.family for check in checks.values()}
    named = {token for token in tokens if token in checks and token not in families}
    return [check for name, check in checks.items() if name in names], named | {
        check.name for check in variants.values()
    }


def _tokenize(expression: str) -> list[str]:
    """Names, checks with parameters, operators and signs. Raises UsageError for anything else."""
    if TOKEN.sub("", expression).strip():
        raise _malformed()
    return TOKEN.findall(expression)


def _with_parameters(spec: str, checks: Mapping[str, Axiom]) -> Axiom:
    name, parameters = split(spec, "check")
    if name not in checks:
        raise UsageError(f"no check {name!r}", hint=nearest(name, checks))
    return checks[name].with_parameters(read_values(parameters, checks[name].measure))


def _several_values(expression: str, checks: Mapping[str, Axiom]) -> str:
    """How several values of a parameter are written where commas are between them, which end a check."""
    groups = _group(checks)
    for name, others, parameter, value, rest in LISTED.findall(expression):
        option = checks[name].options.get(parameter) if name in checks else None
        behind = (word.strip() for word in rest.split(",")[1:])
        values = [value, *takewhile(lambda word: word not in groups, behind)]
        if option is None or len(values) == 1:
            continue
        spec = f"{name}?{others}{parameter}="
        if get_origin(option.annotation) is tuple:
            return f"values of a list are joined by +, {spec}{'+'.join(values)}"
        if all(word in get_args(option.annotation) for word in values):
            return f"each value takes a check of its own, {','.join(spec + word for word in values)}"
    return ""


def _group(checks: Mapping[str, Axiom]) -> dict[str, set[str]]:
    """The names of the checks that a word stands for: the name of one, or a family."""
    groups: dict[str, set[str]] = {}
    for check in checks.values():
        for word in (check.name, check.family):
            groups.setdefault(word, set()).add(check.name)
    return groups


class _Reader:
    """Reads tokens into the names of the checks that they select: `not` binds closest, then `and`, then `or`.

    groups: the names of checks for each word; a word that is none of them selects nothing.
    everything: the names of all checks, of which `not` leaves what it does not name.
    """

    def __init__(self, tokens: Sequence[str], groups: Mapping[str, Set[str]], everything: Set[str]) -> None:
        self.waiting = list(reversed(tokens))
        self.groups = groups
        self.everything = frozenset(everything)

    def read(self) -> Set[str]:
        """The names that the whole expression selects. Raises UsageError where it is none."""
        found = self._read_any()
        if self.waiting:
            raise _malformed()
        return found

    def _read_any(self) -> Set[str]:
        found = self._read_all()
        while sign := self._take("or", ","):
            if sign == "," and self._peek() in ("", ")"):  # a comma at the end
                break
            found = found | self._read_all()
        return found

    def _read_all(self) -> Set[str]:
        found = self._read_one()
        while self._take("and"):
            found = found & self._read_one()
        return found

    def _read_one(self) -> Set[str]:
        if self._take("not"):
            return self.everything - self._read_one()
        if self._take("("):
            found = self._read_any()
            if not self._take(")"):
                raise _malformed()
            return found
        if self._peek() in ("", *SIGNS):
            raise _malformed()
        return self.groups.get(self.waiting.pop(), frozenset())

    def _peek(self) -> str:
        return self.waiting[-1] if self.waiting else ""

    def _take(self, *signs: str) -> str:
        """The next token if it is one of the signs, else an empty string."""
        return self.waiting.pop() if self._peek() in signs else ""


def _malformed() -> UsageError:
    return UsageError(
        expected="names and families joined by and, or, not, for example 'contract and not deterministic'"
    )
