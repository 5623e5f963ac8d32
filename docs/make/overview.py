"""Writes docs/methods.md: the whole battery on all reference methods, one row for each.

    python docs/make/overview.py [--only NAME,…] [--checks EXPR] [--write docs/methods.md]

With --only, the rows of the others stay as they are; with --checks, the other columns; and so does the stamp,
which tells how old the oldest figure may be. On one core methods of gradients and relevance take up to a
minute each, those that evaluate hundreds of variants of an input more.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pages import DOCS, Stamp, write

import xattr_check
from xattr_check import Results, Verdict, load_subject, run_battery
from xattr_check.core import registry
from xattr_check.core.checks import Axiom

SECOND = ("exact", "cost")
# By default each of these takes a quarter of an hour, at two thousand passes for each of 820 maps, or more.
# Extremal and meaningful perturbations are not among them: after a part of their steps there is no mask yet.
FEWER = {
    "kernel_shap": "samples=512",
    "lime": "samples=250",
    "rise": "masks=500",
    "shapley": "permutations=8",
}
SHORT = {
    "null_feature": "null",
    "class_sensitivity_double": "double",
    "class_sensitivity_single": "single",
    "parameter_randomization": "parameters",
    "data_randomization": "labels",
    "implementation_invariance": "implementation",
    "input_shift_invariance": "shift",
    "effective_heat_ratio": "heat ratio",
}


def brief(verdict: Verdict) -> str:
    """`0.41`, **0.41**, 0.41 ?, (0.41) or –."""
    if verdict.status in ("invalid", "error"):
        return f"**{verdict.status}**"
    if verdict.interval is None or verdict.status == "not_applicable":
        return "–"
    number = f"{verdict.interval.value:.2f}"
    if verdict.status == "fail":
        return f"**{number}**" if verdict.required else f"({number})"
    return f"{number} ?" if verdict.status == "undecided" else number


def cells(results: Results) -> dict[str, str]:
    """What each column shows, by its title; of the contract, how many checks pass of how many apply."""
    found = {title(one.check): brief(one) for one in results if one.family != "contract"}
    contract = [one for one in results if one.family == "contract" and one.status != "not_applicable"]
    if contract:
        found["contract"] = f"{sum(one.status == 'pass' for one in contract)}/{len(contract)}"
    return found


def title(check: str) -> str:
    return SHORT.get(check, check).replace("_", " ")


def judged(*, exact: bool) -> list[Axiom]:
    """The checks of the quick budget that have a column, those of the second table or those of the first."""
    known = [check for check in xattr_check.checks().values() if check.cost == "quick"]
    return [one for one in known if one.family != "contract" and (one.family in SECOND) == exact]


def table(rows: Mapping[str, Mapping[str, str]], *, exact: bool) -> Iterator[str]:
    """The rows below their titles and gates, controls last."""
    checks = judged(exact=exact)
    titles = [*([] if exact else ["contract"]), *(title(check.name) for check in checks)]
    gates = [*([] if exact else [""]), *(f"*{check.gate}*" for check in checks)]
    yield f"| method | {' | '.join(titles)} |"
    yield "|---" * (len(titles) + 1) + "|"
    yield f"| *gate* | {' | '.join(gates)} |"

    def place(name: str) -> tuple[bool, str]:
        return registry.methods()[name.partition("?")[0]].control is not None, name

    for name in sorted(rows, key=place):
        if any(one in rows[name] for one in titles):
            yield f"| {name} | {' | '.join(rows[name].get(one, '') for one in titles)} |"


def unjudged(rows: Mapping[str, object]) -> list[str]:
    """The reference methods, no controls, that have no row with whatever parameters."""
    present = {name.partition("?")[0] for name in rows}
    return [name for name, one in registry.methods().items() if one.control is None and name not in present]


def known(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a file written before, by name and title."""
    found: dict[str, dict[str, str]] = {}
    titles: list[str] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        name, *values = (part.strip() for part in line.strip("|").split("|"))
        if name == "method":
            titles = values
        elif line.startswith("| ") and name != "*gate*":
            found.setdefault(name, {}).update(
                {one: value for one, value in zip(titles, values, strict=True) if value}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--checks")
    parser.add_argument("--write", type=Path, default=DOCS / "methods.md")
    parser.add_argument("--storage")
    arguments = parser.parse_args()
    kept = bool(arguments.only or arguments.checks)
    stamp = (Stamp.of(arguments.write) if kept else None) or Stamp.now("methods")
    names = [*filter(None, arguments.only.split(","))]
    if not names:
        everything = registry.methods().items()
        names = [f"{name}?{FEWER[name]}" if name in FEWER else name for name, _ in everything]
    subject = load_subject("digits")
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            started = time.perf_counter()
            storage = arguments.storage or temporary
            results = run_battery(f"xattr:{name}", subject, storage=storage, checks=arguments.checks)
            rows = known(arguments.write) if kept or name != names[0] else {}
            rows.setdefault(name, {}).update(cells(results))
            print(f"{time.perf_counter() - started:5.0f} s  {name} {cells(results)}", flush=True)
            first, second = ("\n".join(table(rows, exact=exact)) for exact in (False, True))
            missing = ", ".join(unjudged(rows))
            missing = f"\n\nNot judged here yet: {missing}." if missing else ""
            write(arguments.write, "methods", stamp, first=first, second=second, missing=missing)


if __name__ == "__main__":
    main()
