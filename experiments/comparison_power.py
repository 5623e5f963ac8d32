"""How often a comparison of two runs fires at p < 0.01: for regressions of a known size, and for none.

    python experiments/comparison_power.py [--seeds 16] [--repetitions 300] [--storage .xattr]

Regressions: the maps of integrated gradients plus noise, w of their own deviation for each input, where w
is chosen for each check so that its statistic over all inputs of `digits` gets worse by 2, 5 and 10 %. The
real rows of both versions are paired; each repetition draws 32, 64 or 128 of the pairs with replacement and
compares them as two runs are compared. Nothing else is resampled.

No regression: real runs, drawn by each seed in another order and compared on the first 32 inputs as quick
runs are: another batch size; sums in another order; and pairs of seeds of three methods that draw numbers,
smoothgrad and kernel_shap, whose noise is the same for every input, and a gradient averaged over noise of
each input's own.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from xattr_check import Axiom, Store, Subject, Undefined, checks, load_subject, methods
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method, as_method
from xattr_check.core.run import Run
from xattr_check.core.verdict import Drawn, Verdict, of_gate
from xattr_check.history.compare import Change, compare
from xattr_check.history.rules import broken, parse
from xattr_check.statistics.intervals import exact
from xattr_check.storage.digest import digest, digest_rows

NAMES = ("completeness", "null_feature", "class_sensitivity_double", "deletion", "insertion", "sensitivity_n",
         "effective_heat_ratio")  # fmt: skip
SHARES = (0.02, 0.05, 0.10)
ROWS = (32, 64, 128)
# Figures that a quick run of integrated gradients compares.
BATTERY = 37
LEVEL = 0.01
STEPS = 16

Function = Callable[[nn.Module, Tensor, Tensor], Tensor]


def remembered(function: Function) -> Function:
    """A method that computes no map twice."""
    known: dict[str, Tensor] = {}

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        key = digest(inputs, targets, id(model))
        if key not in known:
            known[key] = function(model, inputs, targets).detach()
        return known[key].clone()

    return explain


def noise_of(inputs: Tensor, seed: int = 0) -> Tensor:
    """Normal noise (N, *F), of each input its own, whatever is beside it."""
    drawn = [
        torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(row ^ seed))
        for row in digest_rows(inputs)
    ]
    return torch.stack(drawn).to(inputs)


def noisy(function: Function, weight: float) -> Function:
    """The maps of a method plus noise, `weight` of their deviation."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = function(model, inputs, targets)
        deviation = maps.flatten(1).std(1).reshape(-1, *[1] * (maps.ndim - 1))
        return maps + weight * deviation * noise_of(inputs)

    return explain


def reversed_sums(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Integrated gradients, one step at a time and the last first."""
    total = torch.zeros_like(inputs)
    for step in reversed(range(STEPS)):
        leaves = (inputs * (step + 0.5) / STEPS).requires_grad_()
        total += torch.autograd.grad(model(leaves).gather(1, targets[:, None]).sum(), leaves)[0] / STEPS
    return inputs * total


def singly(function: Function, size: int = 5) -> Function:
    """A method in batches of another size."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        parts = zip(inputs.split(size), targets.split(size), strict=True)
        return torch.cat([function(model, *part) for part in parts])

    return explain


def own_noise(seed: int, samples: int = 4) -> Function:
    """Input times a gradient averaged over noise that is each input's own."""

    def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros_like(inputs)
        for number in range(samples):
            leaves = (inputs + 0.3 * noise_of(inputs, 1000 * (seed + 1) + number)).requires_grad_()
            total += torch.autograd.grad(model(leaves).gather(1, targets[:, None]).sum(), leaves)[0]
        return inputs * total

    return explain


def seeded(name: str, seed: int, **parameters: object) -> Function:
    """A reference method with another seed."""
    return methods()[name].with_parameters(name, {"seed": seed, **parameters}).function


@dataclass(frozen=True)
class Bench:
    """The subject and what runs on it share."""

    subject: Subject
    store: Store

    def rows(self, method: Method, check: Axiom, seed: int = 0, draws: int | None = None) -> Tensor:
        """What a check measures on the first draws, or on all inputs: (n,) or (n, k)."""
        run = Run(store=self.store, seed=seed, budget="standard")
        subject = self.subject if check.on is None else check.on(self.subject, run)
        explainer = Explainer.of(method, subject, run)
        found = []
        for number, draw in enumerate(run.draws(check.name, subject, check.inputs)):
            if number == draws:
                break
            found.append(check(explainer, subject, draw).samples.double())
        return torch.cat(found)


def verdict(check: Axiom, rows: Tensor) -> Verdict:
    """What a run would have saved."""
    return Verdict(
        method="m", subject="digits", check=check.name, family=check.family, status="pass", sentence="",
        **of_gate(check.gate), interval=exact(check.value(rows)), draws={"0": Drawn(rows, {"control": 0.0})},
    )  # fmt: skip


def change(check: Axiom, before: Tensor, after: Tensor) -> Change:
    one, other = verdict(check, before), verdict(check, after)
    return compare({("m", check.name): one}, {("m", check.name): other})[0]


def worse_by(check: Axiom, before: Tensor, after: Tensor) -> float:
    """By which share of itself the statistic got worse."""
    was, now = check.value(before), check.value(after)
    return (now - was if check.gate.better == "lower" else was - now) / abs(was)


def regressions(
    bench: Bench, base: Function, check: Axiom, before: Tensor
) -> Iterator[tuple[float, float, Tensor]]:
    """(share wanted, weight of the noise, rows) of versions that are worse by those shares."""

    def at(weight: float) -> Tensor:
        return bench.rows(as_method(noisy(base, weight), "after"), check)

    grid = [0.0, *(0.02 * 1.6**k for k in range(12))]
    found = [0.0]
    for weight in grid[1:]:
        found.append(worse_by(check, before, at(weight)))
        if found[-1] > SHARES[-1]:
            break
    for share in SHARES:
        for (low, high), (was, now) in zip(pairwise(grid), pairwise(found), strict=False):
            if was <= share < now:
                weight = low + (high - low) * (share - was) / (now - was)
                yield share, weight, at(weight)
                break


def power(bench: Bench, repetitions: int) -> None:
    """Print how often regressions are seen."""
    print("| check | by | weight of noise | rows | p < 0.01 | corrected |\n|---|---|---|---|---|---|")
    base = remembered(methods()["integrated_gradients"].with_parameters("ig", {"steps": STEPS}).function)
    for name in NAMES:
        check = checks()[name]
        before = bench.rows(as_method(base, "before"), check)
        for share, weight, after in regressions(bench, base, check, before):
            real = worse_by(check, before, after)
            for count in ROWS:
                generator = torch.Generator().manual_seed(0)
                fired = [0, 0]
                for _ in range(repetitions):
                    rows = torch.randint(len(before), (count,), generator=generator)
                    found = change(check, before[rows], after[rows])
                    fired[0] += found.worse > 0 and found.p < LEVEL
                    fired[1] += found.worse > 0 and found.p * BATTERY < LEVEL
                shown = " | ".join(f"{100 * one / repetitions:.0f} %" for one in fired)
                print(f"| {name} | {100 * real:.1f} % of {check.value(before):.3g} ({share:.0%}) | "
                      f"{weight:.3f} | {count} | {shown} |", flush=True)  # fmt: skip


def none(bench: Bench, seeds: int, rows: int, only: str = "") -> None:
    """Print how often what is no regression is taken for one, in real runs."""
    ig = methods()["integrated_gradients"].with_parameters("ig", {"steps": STEPS}).function
    versions: dict[str, Callable[[int], tuple[Function, Function]]] = {
        "noise of each input's own": lambda seed: (own_noise(seed), own_noise(seed + 1)),
        "smoothgrad, another seed": lambda seed: (
            seeded("smoothgrad", seed, samples=10),
            seeded("smoothgrad", seed + 1, samples=10),
        ),
        "kernel_shap, another seed": lambda seed: (
            seeded("kernel_shap", seed, samples=256),
            seeded("kernel_shap", seed + 1, samples=256),
        ),
        "another batch size": lambda seed: (ig, singly(ig)),
        "another order of sums": lambda seed: (ig, reversed_sums),
    }
    print(
        "| | figures | changed | p < 0.01 | of them worse | corrected; and > 5 %; > 10 % | largest |\n"
        + "|---" * 7
        + "|"
    )
    for label, version in versions.items():
        if only not in label:
            continue
        found: list[list[Change]] = []
        for seed in range(seeds):
            sensitive = label.startswith("smoothgrad")
            one, other = (
                Method(str(k), remembered(function), sensitivity=sensitive)
                for k, function in enumerate(version(seed))
            )
            changes = []
            for name in NAMES:
                check = checks()[name]
                try:
                    before, after = (
                        bench.rows(method, check, seed, -(-rows // check.inputs)) for method in (one, other)
                    )
                except Undefined:
                    continue
                changes.append(change(check, before, after))
            found.append(changes)
        every = [one for changes in found for one in changes]
        fired = [one for one in every if one.worse > 0 and one.p < LEVEL]
        two_sided = [one for one in every if one.worse and one.p < LEVEL]
        after_holm, and_more, and_much = (
            sum(bool(list(broken(parse(rule), changes))) for changes in found)
            for rule in (f"p<{LEVEL}", f"p<{LEVEL} and worse>5%", f"p<{LEVEL} and worse>10%")
        )
        largest = max((f"{one.after.check} {100 * one.share:.1f} %" for one in fired), default="")
        cells = (
            label,
            len(every),
            sum(bool(one.worse) for one in every),
            len(two_sided),
            len(fired),
            f"{after_holm}, {and_more}, {and_much} of {len(found)} runs",
            largest,
        )
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        for one in two_sided:
            print(f"    {one.after.check} p={one.p:.4f} worse={one.worse:.4g} share={one.share:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--inputs", type=int, default=32, help="that runs without a regression draw")
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--storage", type=Path, default=Path(".xattr"))
    parser.add_argument("--only", default="", help="power, or a part of the name of a kind of run")
    arguments = parser.parse_args()
    bench = Bench(load_subject("digits"), Store(arguments.storage / "store"))
    if arguments.only in ("", "power"):
        power(bench, arguments.repetitions)
    if arguments.only != "power":
        none(bench, arguments.seeds, arguments.inputs, arguments.only)


if __name__ == "__main__":
    main()
