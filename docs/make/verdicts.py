"""Writes docs/verdicts.md, from the figures in docs/verdicts.json; measures them when asked.

    python docs/make/verdicts.py                        # the page, from the figures as they are
    python docs/make/verdicts.py --measure all          # all checks: an hour on one core
    python docs/make/verdicts.py --measure 'null_feature or iou' [--seeds 0,1,2]
    python docs/make/verdicts.py --measure 'iou or deletion' --variance --seeds 0

Seven reference methods and the controls on the digits, on three seeds; with --variance those that rank by a
variance instead, in rows below the others, since a map of theirs takes hundreds of forward passes. Checks of
the quick budget are judged at that, the others at the standard one; those that retrain are in
docs/retraining.md. Each check keeps the commit that it was measured at, and the page shows the oldest.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pages import DOCS, Stamp, write

import xattr_check
from xattr_check import Verdict, load_subject, run_battery
from xattr_check.config.selection import select
from xattr_check.report.table import summary

FIGURES = DOCS / "verdicts.json"
GOOD = (
    "gradient", "input_x_gradient", "smoothgrad", "integrated_gradients", "gradcam", "occlusion",
    "guided_backprop",
)  # fmt: skip
# Cut short as in docs/methods.md. They are asked by some checks alone.
VARIANCE = ("morris_sbsa?samples=8", "sobol_sbsa?samples=16", "sbsa?sensitivity=lime&samples=512")
BESIDE = "beside"  # their figures, in those of a check
NEGATIVE = ("random", "edges", "input_magnitude", "center", "constant")
ORACLE = "oracle"
ALL = (*NEGATIVE, ORACLE, *GOOD)
MARKS = {
    "pass": "✓",
    "fail": "✗",
    "not claimed": "(✗)",
    "undecided": "?",
    "not_applicable": "–",
    "invalid": "invalid",
    "error": "error",
}
# The other similarities of the cascade, by their title on the page.
SIMILARITIES = {"magnitude": "spearman_magnitude", "SSIM": "ssim"}
CONTRACT = "contract"  # of this family the figures are counts, under its own name
# Families that stand elsewhere, and those that gate nothing.
ELSEWHERE = (CONTRACT, "retraining", "stability", "cost")
Figures = dict[str, dict[str, Any]]  # by check; `methods` holds one figure for each method and seed


def marks(figures: Sequence[Mapping[str, Any]]) -> str:
    """One mark where all seeds agree, one for each where they do not; a failure that counts is bold."""
    seen = [MARKS[one["status"]] for one in figures]
    told = seen[0] if len(set(seen)) == 1 else " ".join(seen)
    return f"**{told}**" if "✗" in seen else told


def cell(figures: Sequence[Mapping[str, Any]], gated: bool = True) -> str:
    """`0.41 ✓`: the statistic with the first seed, and what the gate says of all, where there is one."""
    value = figures[0].get("value")
    if value is None:
        return marks(figures)
    return f"{number(value)} {marks(figures) if gated else ''}".strip()


def number(value: float) -> str:
    """Two places, and none of a number that has more before them."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def controls(check: Mapping[str, Any]) -> str:
    """`edges 0.36, 5 ✗`: the strongest rival where they are rivals, and how many come out how."""
    rows = {name: check["methods"][name] for name in NEGATIVE if name in check["methods"]}
    if check["gate"] == "none" or not rows:
        return "–"
    counts = Counter(marks(figures) for figures in rows.values())
    if not check["gate"].endswith("every control"):
        return told(counts)
    sign = -1 if "below" in check["gate"] else 1
    best = max(rows, key=lambda name: sign * rows[name][0].get("value", float("-inf")))
    return f"{best} {rows[best][0]['value']:.2f}; {told(counts)}"


def lines(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    parts = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in parts)


def table(figures: Figures, family: str) -> str:
    """A row for each method, a column for each check of the family."""
    checks = {name: one for name, one in figures.items() if one["family"] == family}

    def rows() -> Iterator[Sequence[str]]:
        claimed = {True: " if claimed", False: ""}
        yield ["*gate*", *(f"*{one['gate']}{claimed[one['claimed']]}*" for one in checks.values())]
        rows = [one["methods"] | one.get(BESIDE, {"methods": {}})["methods"] for one in checks.values()]
        for method in (*GOOD, *VARIANCE, ORACLE):
            told = [
                cell(known[method], one["gate"] != "none") if method in known else ""
                for known, one in zip(rows, checks.values(), strict=True)
            ]
            if any(told):
                yield [method, *told]
        yield ["negative controls", *(controls(one) for one in checks.values())]

    return lines(["method", *(name.replace("_", " ") for name in checks)], rows())


def contract(figures: Figures) -> str:
    """`14 pass: gradient, …`: of the checks of the contract, by method; one count where all seeds agree."""
    passed: dict[str, list[str]] = {}
    rows = figures[CONTRACT]["methods"] | figures[CONTRACT].get(BESIDE, {"methods": {}})["methods"]
    for method in rows:
        counts = (told(Counter(one)) for one in rows[method])
        passed.setdefault(" / ".join(dict.fromkeys(counts)), []).append(f"`{method}`")
    return "\n".join(f"- {count}: {', '.join(names)}" for count, names in passed.items())


def told(counts: Counter[str]) -> str:
    """`12 pass, 2 fail`, the most frequent first."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common() if count)


def cascade(figures: Figures) -> str:
    """Similarity after each step of the cascade, and the mean of the other two similarities."""
    curves: Mapping[str, Any] = figures["parameter_randomization"]["cascade"]
    steps = max(len(one["steps"]) for one in curves.values())

    def rows() -> Iterator[Sequence[str]]:
        for method, curve in curves.items():
            numbers = [*curve["steps"], *(curve[name] for name in SIMILARITIES)]
            yield [method, *(f"{round(number, 2) + 0.0:.2f}" for number in numbers)]

    return lines(["method", *(f"step {step + 1}" for step in range(steps)), *SIMILARITIES], rows())


def values(figures: Figures) -> dict[str, object]:
    """What the template asks for."""
    families = dict.fromkeys(one["family"] for one in figures.values())
    missing = [name for name in listed() if not figures.get(name, {}).get("methods")]
    return {
        "table": {family: table(figures, family) for family in families if family != CONTRACT},
        "contract": contract(figures),
        "cascade": cascade(figures),
        "missing": f"Not measured yet: {', '.join(missing)}." if missing else "",
    }


def listed() -> dict[str, Any]:
    """The checks that belong on the page, but for those of the contract, which stand there as one."""
    known = xattr_check.checks().items()
    return {name: one for name, one in known if one.family not in ELSEWHERE}


def oldest(figures: Figures) -> Stamp:
    """The stamp of the figures that were measured first."""
    every = [part for one in figures.values() for part in (one, one.get(BESIDE, one))]
    return min(
        (Stamp(one["commit"], one["date"], one["changed"]) for one in every),
        key=lambda one: one.date,
    )


def measure(asked: str, seeds: Sequence[int], stamp: Stamp, methods: Sequence[str] = ALL) -> Figures:
    """The figures of the checks asked for, in the order in which they are registered."""
    expression = None if asked == "all" else asked
    known = xattr_check.checks()
    wanted = select(expression, known, "standard")
    checks = {one.name: one for one in wanted if one.family == CONTRACT or one.name in listed()}
    subject = load_subject("digits")
    found: Figures = {
        one.name: {
            "family": one.family,
            "gate": str(one.gate),
            "claimed": one.claimed,
            "statement": one.statement,
            **asdict(stamp),
            "methods": {},
        }
        for one in checks.values()
        if one.family != CONTRACT
    }
    members = {name for name, one in known.items() if one.family == CONTRACT}
    # Of a part of the contract nothing is kept.
    whole = members <= set(checks)
    if whole:
        found[CONTRACT] = {"family": CONTRACT, **asdict(stamp), "methods": {}}
    by_budget = {
        budget: " or ".join(one.name for one in checks.values() if one.cost == budget)
        for budget in ("quick", "standard")
    }
    started = time.process_time()
    with tempfile.TemporaryDirectory() as storage:
        for seed in seeds:
            for method in methods:
                verdicts: list[Verdict] = [
                    verdict
                    for budget, names in by_budget.items()
                    if names
                    for verdict in run_battery(
                        f"xattr:{method}", subject, seed=seed, storage=storage, checks=names, budget=budget
                    )
                ]
                if whole:
                    counts = Counter(one.status for one in verdicts if one.family == CONTRACT)
                    found[CONTRACT]["methods"].setdefault(method, []).append(counts)
                for verdict in verdicts:
                    if verdict.family == CONTRACT:
                        continue
                    found[verdict.check]["methods"].setdefault(method, []).append(figure(verdict))
                    if verdict.check == "parameter_randomization" and method in GOOD and seed == seeds[0]:
                        curves = found[verdict.check].setdefault("cascade", {})
                        curves[method] = curve(verdict.evidence)
                seconds = time.process_time() - started
                print(f"{seconds:5.0f} s  seed {seed}  {method}: {summary(verdicts)}", file=sys.stderr)
    for one in found.values():
        order = (*GOOD, *VARIANCE, *NEGATIVE, ORACLE)
        one["methods"] = {name: one["methods"][name] for name in order if name in one["methods"]}
    # What no budget up to the standard one judges has no row.
    return {name: one for name, one in found.items() if one["methods"]}


def merged(old: Figures, new: Figures, variance: bool) -> Figures:
    """All figures, with the new ones; those of VARIANCE are beside the others, with a stamp of their own."""
    found = dict(old)
    for name, one in new.items():
        if variance:
            beside = {key: one[key] for key in (*Stamp.__dataclass_fields__, "methods")}
            found[name] = {**old.get(name, one | {"methods": {}}), BESIDE: beside}
        else:
            kept = {BESIDE: old[name][BESIDE]} if BESIDE in old.get(name, {}) else {}
            found[name] = one | kept
    return found


def figure(verdict: Verdict) -> dict[str, Any]:
    """Status, and statistic with its interval where there is one."""
    status = "not claimed" if verdict.status == "fail" and not verdict.required else verdict.status
    if verdict.interval is None:
        return {"status": status}
    numbers = (verdict.interval.value, verdict.interval.low, verdict.interval.high)
    return {"status": status} | {
        name: float(f"{number:.4g}") for name, number in zip(("value", "low", "high"), numbers, strict=True)
    }


def curve(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Of the first draw, the similarity after each step and the means of the others."""
    steps = [round(float(one), 4) for one in evidence["spearman"].mean(0)]
    return {"steps": steps} | {
        title: round(float(evidence[name].mean()), 4) for title, name in SIMILARITIES.items()
    }


def dump(figures: Figures) -> str:
    """JSON with one line for each method of a check."""

    def field(name: str, value: Any) -> str:
        if not isinstance(value, dict):
            return f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        inner = (f"   {json.dumps(key)}: {json.dumps(one)}" for key, one in value.items())
        return f"  {json.dumps(name)}: {{\n" + ",\n".join(inner) + "\n  }"

    checks = (
        f" {json.dumps(name)}: {{\n" + ",\n".join(field(*pair) for pair in one.items()) + "\n }"
        for name, one in figures.items()
    )
    return "{\n" + ",\n".join(checks) + "\n}\n"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", metavar="EXPR", help="the checks to measure, `all` or as --xattr-checks")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--variance", action="store_true", help="of those that rank by a variance alone")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--write", type=Path, default=DOCS / "verdicts.md")
    arguments = parser.parse_args(given)
    figures: Figures = json.loads(arguments.figures.read_text()) if arguments.figures.exists() else {}
    if arguments.measure:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        methods = VARIANCE if arguments.variance else ALL
        new = measure(arguments.measure, seeds, Stamp.now("verdicts"), methods)
        figures = merged(figures, new, arguments.variance)
        arguments.figures.write_text(dump(dict(sorted(figures.items()))))
    write(arguments.write, "verdicts", oldest(figures), **values(figures))


if __name__ == "__main__":
    main()
