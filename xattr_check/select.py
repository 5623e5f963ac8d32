"""Selection of checks by an expression over their names and families."""

import ast
from collections.abc import Mapping

from xattr_check.axiom import Axiom, Budget
from xattr_check.errors import UsageError
from xattr_check.run import BUDGETS
from xattr_check.specs import nearest


def select(expression: str | None, checks: Mapping[str, Axiom], budget: Budget) -> list[Axiom]:
    """The checks that an expression names, those that the budget leaves out excepted.

    expression: names and families joined by `or`, `and`, `not` and parentheses; a comma is an `or`.
        None selects all.

    Raises UsageError for unknown names, for what is not such an expression, and where nothing is left.
    """
    affordable = [c for c in checks.values() if list(BUDGETS).index(c.cost) <= list(BUDGETS).index(budget)]
    if not expression:
        return affordable
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        raise _malformed(expression) from None
    families = {check.family for check in checks.values()}

    def holds(node: ast.expr, check: Axiom) -> bool:
        match node:
            case ast.Name(id=name):
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


def _malformed(expression: str) -> UsageError:
    return UsageError(
        f"--xattr-checks={expression!r}: expected names and families joined by and, or, not, "
        "for example 'contract and not deterministic'"
    )
