"""Selection of checks by an expression over their names and families."""

import ast
import re
from collections.abc import Mapping

from xattr_check.config.specs import split, values
from xattr_check.core.checks import Axiom
from xattr_check.core.run import BUDGETS, Budget
from xattr_check.errors import UsageError
from xattr_check.wording import nearest

# A check with parameters: deletion?fill=blur&by=regions.
VARIANT = re.compile(r"\w+\?[^\s(),]*")


def select(expression: str | None, checks: Mapping[str, Axiom], budget: Budget) -> list[Axiom]:
    """The checks that an expression names, those that the budget leaves out excepted.

    expression: names and families joined by `or`, `and`, `not` and parentheses; a comma is an `or`.
        A name may set parameters of its check, as in `deletion?fill=blur`, which is then a check of its own.
        None selects all.

    Raises UsageError for unknown names, for what is not such an expression, and where nothing is left.
    """
    placeholders: dict[str, str] = {}

    def variant(found: re.Match[str]) -> str:
        """A name that Python can parse for a check with parameters."""
        nonlocal checks
        made = _with_parameters(found.group(), checks, expression or "")
        checks = dict(sorted({**checks, made.name: made}.items()))
        return placeholders.setdefault(made.name, f"variant_{len(placeholders)}_")

    text = VARIANT.sub(variant, (expression or "").strip())
    variants = {placeholder: name for name, placeholder in placeholders.items()}
    affordable = [c for c in checks.values() if list(BUDGETS).index(c.cost) <= list(BUDGETS).index(budget)]
    if not text:
        return affordable
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise _malformed(expression) from None
    families = {check.family for check in checks.values()}

    def holds(node: ast.expr, check: Axiom) -> bool:
        match node:
            case ast.Name(id=identifier):
                name = variants.get(identifier, identifier)
                if name not in checks and name not in families:
                    known = nearest(name, {*checks, *families})
                    raise UsageError(f"--xattr-checks={expression!r}: no check or family {name!r}{known}")
                return name in (check.name, check.family)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not holds(operand, check)
            case ast.BoolOp(op=ast.And(), values=values):
                return all([holds(value, check) for value in values])
            case ast.BoolOp(values=values) | ast.Tuple(elts=values):
                return any([holds(value, check) for value in values])
        raise _malformed(expression)

    chosen = [check for check in checks.values() if holds(tree, check)]
    if not chosen:
        raise UsageError(f"--xattr-checks={expression!r}: selects none of the {len(checks)} checks")
    found = [check for check in chosen if check in affordable]
    if not found:
        names = ", ".join(f"{check.name} ({check.cost})" for check in chosen)
        raise UsageError(f"--xattr-budget={budget}: too small for {names}; pass a larger --xattr-budget")
    return found


def _with_parameters(spec: str, checks: Mapping[str, Axiom], expression: str) -> Axiom:
    option = f"--xattr-checks={expression!r}"
    name, parameters = split(spec, "--xattr-checks")
    if name not in checks:
        raise UsageError(f"{option}: no check {name!r}{nearest(name, checks)}")
    try:
        return checks[name].with_parameters(values(parameters, checks[name].measure))
    except UsageError as error:
        raise UsageError(str(error).replace(f"check {name!r}", option)) from None


def _malformed(expression: str | None) -> UsageError:
    return UsageError(
        f"--xattr-checks={expression!r}: expected names and families joined by and, or, not, "
        "for example 'contract and not deterministic'"
    )
