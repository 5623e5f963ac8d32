"""Writes docs/methods.md: the whole battery on all reference methods, one row for each.

    python benchmarks/overview.py [--only NAME,…] [--write docs/methods.md]

With --only, the rows of the others stay as they are. On one core methods of gradients and relevance
take up to a minute each, those that evaluate hundreds of variants of an input several.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import xattr_check
from xattr_check import Results, Verdict, load_subject, registry, run_battery
from xattr_check.axiom import Axiom

HEADER = """
# The battery on all reference methods

<!-- Written by benchmarks/overview.py. -->
Subject `digits`, quick budget, seed 0, default parameters unless the name gives others. Bold is a failure, ?
undecided, – not applicable; completeness fails only methods that claim it, the others' is in brackets. Of the
contract, how many checks pass of how many apply. [verdicts.md](verdicts.md) gives intervals, more seeds and
the reasons, [reference.md](reference.md) what is measured.
"""
# By default each of these takes a quarter of an hour, at two thousand passes for each of 820 maps, or more.
FEWER = {
    "extremal_perturbation": "iterations=100",
    "kernel_shap": "samples=512",
    "lime": "samples=250",
    "meaningful_perturbation": "iterations=100",
    "rise": "masks=500",
    "shapley": "permutations=8",
}
SHORT = {
    "null_feature": "null",
    "class_sensitivity_double": "double",
    "class_sensitivity_single": "single",
    "parameter_randomization": "parameters",
    "data_randomization": "labels",
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


def row(name: str, results: Results) -> str:
    contract = [one for one in results if one.family == "contract" and one.status != "not_applicable"]
    passed = sum(one.status == "pass" for one in contract)
    others = [brief(results[check.name]) for check in judged()]
    return f"| {name} | {passed}/{len(contract)} | " + " | ".join(others) + " |"


def judged() -> list[Axiom]:
    return [check for check in xattr_check.checks().values() if check.family != "contract"]


def table(rows: Mapping[str, str]) -> Iterator[str]:
    """The rows below their titles and gates, controls last."""
    titles = [SHORT.get(check.name, check.name).replace("_", " ") for check in judged()]
    yield f"| method | contract | {' | '.join(titles)} |"
    yield "|---" * (len(titles) + 2) + "|"
    yield f"| *gate* | | {' | '.join(f'*{check.gate}*' for check in judged())} |"

    def place(name: str) -> tuple[bool, str]:
        return registry.methods()[name.partition("?")[0]].control is not None, name

    for name in sorted(rows, key=place):
        yield rows[name]


def known(path: Path) -> Iterator[tuple[str, str]]:
    """Names and rows of a file written before."""
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("| ") and not line.startswith(("| method", "| *gate")):
            yield line.split(" | ")[0].removeprefix("| "), line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--write", type=Path, default=Path(__file__).parent.parent / "docs" / "methods.md")
    parser.add_argument("--storage")
    arguments = parser.parse_args()
    names = [*filter(None, arguments.only.split(","))]
    if not names:
        everything = registry.methods().items()
        names = [f"{name}?{FEWER[name]}" if name in FEWER else name for name, _ in everything]
    subject = load_subject("digits")
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            started = time.perf_counter()
            storage = arguments.storage or temporary
            results = run_battery(f"xattr:{name}", subject, storage=storage)
            rows = dict(known(arguments.write)) if arguments.only or name != names[0] else {}
            rows[name] = row(name, results)
            print(f"{time.perf_counter() - started:5.0f} s  {rows[name]}", flush=True)
            arguments.write.write_text("\n".join([HEADER.strip(), "", *table(rows)]) + "\n")


if __name__ == "__main__":
    main()
