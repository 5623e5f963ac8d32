"""Writes docs/gates_travel.md, from the figures in docs/gates_travel.json; measures what is missing.

    python docs/make/gates_travel.py                     # the page, from the figures as they are
    python docs/make/gates_travel.py --measure cancer,wine [--seeds 0] [--minutes 20]
    python docs/make/gates_travel.py --measure cancer --checks retrained    # those that changed, once more

Right and broken methods under the same gates on the subjects of experiments/eight_subjects.py. Right ones
take the quick checks of three families, broken ones only the check that names their defect. Figures are
kept after each method, so that a run may be killed; the next one goes on from there. With --checks, the
figures of other checks stay as they are, and so does the stamp, which tells how old they may be.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pages import DOCS, ROOT, Stamp, write

sys.path += [str(ROOT / "experiments"), str(ROOT / "tests")]

import broken_methods
import eight_subjects
import torch
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject, Verdict, run_battery
from xattr_check.config.selection import select
from xattr_check.storage.digest import derive_seed, digest_model, digest_rows
from xattr_methods import gradient, integrated_gradients

FIGURES = DOCS / "gates_travel.json"
FAMILIES = ("sanity", "faithfulness", "exact")
RIGHT = ("input_x_gradient", "integrated_gradients", "occlusion", "deeplift", "lrp?rule=epsilon")
# Right too, but of something else: how steep the output is, and one number for each cell of a coarse grid.
OTHERS = ("gradient", "gradcam")
# Seconds of processor time: what takes longer on a subject is not judged by the families that are left.
PATIENCE = 240
# By subject, seed and method: seconds, and what each check said.
Figures = dict[str, dict[str, Any]]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def negated(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Evidence against the target, as for it."""
    return -integrated_gradients(model, inputs, targets)


def moved(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Each feature is given what belongs to one a quarter of the last axis before it."""
    return integrated_gradients(model, inputs, targets).roll(inputs.shape[-1] // 4, -1)


def noise_for_the_model(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Noise of each input's own, that other weights make another one."""
    weights = digest_model(model)
    seeds = [derive_seed(weights, row) for row in digest_rows(inputs)]
    rows = [torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(inputs)


def clipped_on(share: float) -> Explain:
    """A gradient that is clipped on its way back for a share of the inputs, drawn by what they hold."""

    @xattr_check.claims("implementation_invariance")
    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        drawn = [derive_seed("clipped", row) % 1000 < 1000 * share for row in digest_rows(inputs)]
        chosen = torch.tensor(drawn, device=inputs.device).reshape(-1, *[1] * (inputs.ndim - 1))
        clipped = broken_methods.clipped_backwards(model, inputs, targets)
        return torch.where(chosen, clipped, gradient(model, inputs, targets))

    return explain


def from_the_tests(*names: str) -> dict[str, tuple[Explain, str]]:
    return {name: (broken_methods.broken(name), broken_methods.CAUGHT_BY[name]) for name in names}


# With the check that names the defect. Those of the first group take any features, the others images.
ANYWHERE: dict[str, tuple[Explain, str]] = {
    "negated": (negated, "insertion"),
    "moved": (moved, "sensitivity_n"),
    "noise_for_the_model": (noise_for_the_model, "retrained"),
    "clipped_on_a_tenth": (clipped_on(0.1), "implementation_invariance"),
    "clipped_on_a_quarter": (clipped_on(0.25), "implementation_invariance"),
    **from_the_tests("wrong_target", "absolute_value", "forgets_input_difference", "forgets_steps"),
    **from_the_tests("half_the_path", "gradient_where_flat", "positive_part", "leaky_backwards"),
    **from_the_tests("clipped_backwards", "from_black"),
}
ON_IMAGES: dict[str, tuple[Explain, str]] = {
    "edges_in_disguise": (broken_methods.edges_in_disguise, "parameter_randomization"),
    **from_the_tests("sign_flipped", "transposed", "shifted", "flipped", "wrong_layer_weights"),
    **from_the_tests("wrapped_around", "mostly_edges", "first_layer_only", "noise_of_the_logits"),
    **from_the_tests("signs_of_the_gradient", "signs_of_the_weights", "noise_of_the_weights"),
    **from_the_tests("blurred_map", "largest_is_one"),
}
BROKEN = {**ANYWHERE, **ON_IMAGES}


def key(subject: str, seed: int, method: str) -> str:
    return f"{subject} {seed} {method}"


def figure(verdict: Verdict, expected: str) -> dict[str, Any]:
    """Status, the statistic with its interval where there is one, and the sentence of an unexpected one."""
    found: dict[str, Any] = {"status": verdict.status, "required": verdict.required, "n": verdict.n}
    if verdict.interval is not None:
        numbers = verdict.interval.value, verdict.interval.low, verdict.interval.high
        found |= {
            name: float(f"{one:.4g}") for name, one in zip(("value", "low", "high"), numbers, strict=True)
        }
    if verdict.required and verdict.status != expected:
        found["sentence"] = " ".join(verdict.text.split())
    return found


def right(method: str, subject: Subject, checks: str, **options: Any) -> Iterator[Verdict]:
    """What the quick checks say of a right method, family by family, as long as it is quick.

    checks: those asked for, all where it is empty.
    """
    if checks:
        yield from run_battery(f"xattr:{method}", subject, checks=checks, **options)
        return
    started = time.process_time()
    for family in FAMILIES:
        if time.process_time() - started < PATIENCE:
            yield from run_battery(f"xattr:{method}", subject, checks=family, **options)


def measure(
    figures: Figures,
    subject: Subject,
    seed: int,
    storage: str,
    save: Callable[[], None],
    until: float,
    checks: str = "",
) -> None:
    """Judge what has no figures yet, until a time of the clock; or anew by these checks what has some."""
    known = xattr_check.checks()
    asked = {check.name for check in select(checks, known, "quick")} if checks else set(known)
    stamp = Stamp.now("gates_travel")
    broken = BROKEN if subject.layout.name == "image" else ANYWHERE
    for method in (*RIGHT, *OTHERS, *broken):
        name = key(subject.name, seed, method)
        applies = subject.layout.name == "image" or method != "gradcam"
        if (
            (name in figures) != bool(checks)
            or not applies
            or (method in BROKEN and broken[method][1] not in asked)
        ):
            continue
        if time.time() > until:
            return
        started = time.perf_counter()
        if method not in broken:
            found = list(right(method, subject, checks, seed=seed, storage=storage))
        else:
            explain, check = broken[method]
            found = list(run_battery(explain, subject, seed=seed, storage=storage, checks=check))
        seconds = round(time.perf_counter() - started, 1)
        expected = "fail" if method in broken else "pass"
        said = {one.check: figure(one, expected) for one in found}
        if checks:
            figures[name]["checks"] |= said
        else:
            figures[name] = {**asdict(stamp), "seconds": seconds, "checks": said}
        save()
        print(f"{seconds:6.1f} s  {name}: {dict(Counter(one.status for one in found))}", file=sys.stderr)


def judged(figures: Figures, methods: Sequence[str]) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Subject, seed, method, check and its figure, for what gates."""
    for name, one in figures.items():
        subject, seed, method = name.split(" ")
        if method in methods:
            for check, said in one["checks"].items():
                if said["required"]:
                    yield subject, seed, method, check, said


def table(figures: Figures, methods: Sequence[str]) -> str:
    """A row for each check, a column for each subject: `5 / 1 / 0` pass, undecided, fail."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for subject, _, _, check, said in judged(figures, methods):
        row = counts.setdefault(check, {})
        row.setdefault(subject, Counter())[said["status"]] += 1
    subjects = [one.__name__ for one in eight_subjects.SUBJECTS]
    subjects = [name for name in subjects if any(name in row for row in counts.values())]
    order = [name for name in xattr_check.checks() if name in counts]
    order.sort(key=lambda name: FAMILIES.index(xattr_check.checks()[name].family))
    rows = [[name, *(cell(counts[name].get(one, Counter())) for one in subjects)] for name in order]
    parts = [["check", *subjects], ["---"] * (len(subjects) + 1), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in parts)


def cell(counts: Mapping[str, int]) -> str:
    """`5 / 1 / 0`, and `2 n/a` or `2 invalid` where nothing was said."""
    decided = [counts.get(status, 0) for status in ("pass", "undecided", "fail")]
    told = [" / ".join(map(str, decided))] if any(decided) else []
    rest = {"not_applicable": "n/a", "invalid": "invalid", "error": "error"}
    told += [f"{counts[status]} {word}" for status, word in rest.items() if counts.get(status)]
    return ", ".join(told) or "–"


def wrong(figures: Figures, methods: Sequence[str], status: str) -> str:
    """A line for each of these that a check that gates gave this status."""
    lines = [
        f"- `{subject}`, {check}, `{method}` (seed {seed}): {said['sentence']}"
        for subject, seed, method, check, said in judged(figures, methods)
        if said["status"] == status
    ]
    return "\n".join(lines) or "None."


def flips(figures: Figures, methods: Sequence[str] = (*RIGHT, *OTHERS, *BROKEN)) -> str:
    """A line for each check that passes a method on one seed and fails it on another."""
    found: dict[tuple[str, str, str], set[str]] = {}
    for subject, _, method, check, said in judged(figures, methods):
        found.setdefault((subject, check, method), set()).add(said["status"])
    lines = [f"- `{subject}`, {check}, `{method}`" for (subject, check, method), statuses in found.items()
             if {"pass", "fail"} <= statuses]  # fmt: skip
    return "\n".join(lines) or "None."


def seeds(figures: Figures) -> str:
    """Which subjects were measured on which seeds: `0, 1, 2 (cancer, wine); 0 (vit)`."""
    by_subject: dict[str, set[str]] = {}
    for name in figures:
        subject, seed, _ = name.split(" ")
        by_subject.setdefault(subject, set()).add(seed)
    groups: dict[str, list[str]] = {}
    for subject, one in by_subject.items():
        groups.setdefault(", ".join(sorted(one)), []).append(subject)
    return "; ".join(f"{told} ({', '.join(names)})" for told, names in groups.items())


def values(figures: Figures) -> dict[str, object]:
    """What the template asks for."""
    return {
        "right": table(figures, RIGHT),
        "broken": table(figures, tuple(BROKEN)),
        "others": table(figures, OTHERS),
        "failed": wrong(figures, RIGHT, "fail"),
        "others_failed": wrong(figures, OTHERS, "fail"),
        "flips": flips(figures),
        "passed": wrong(figures, tuple(BROKEN), "pass"),
        "defects": "\n".join(f"- `{name}`: {check}" for name, (_, check) in BROKEN.items()),
        "seeds": seeds(figures),
    }


def oldest(figures: Figures) -> Stamp:
    """The stamp of the figures that were measured first."""
    stamps = (Stamp(one["commit"], one["date"], one["changed"]) for one in figures.values())
    return min(stamps, key=lambda one: one.date)


def dump(figures: Figures) -> str:
    """JSON with one line for each subject, seed and method."""
    lines = (f" {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in figures.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", metavar="SUBJECTS", default="", help="names with commas between them")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--checks", metavar="EXPR", default="", help="these alone, of what has figures")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no method is begun after them")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--write", type=Path, default=DOCS / "gates_travel.md")
    arguments = parser.parse_args(given)
    figures: Figures = json.loads(arguments.figures.read_text()) if arguments.figures.exists() else {}

    def save() -> None:
        arguments.figures.write_text(dump(figures), encoding="utf-8")

    until = time.time() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as storage:
        for name in filter(None, arguments.measure.split(",")):
            subject = getattr(eight_subjects, name)()
            for seed in map(int, arguments.seeds.split(",")):
                measure(figures, subject, seed, storage, save, until, arguments.checks)
    write(arguments.write, "gates_travel", oldest(figures), **values(figures))


if __name__ == "__main__":
    main()
