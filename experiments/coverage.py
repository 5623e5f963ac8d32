"""How often verdicts err at the gate, before and after a guard against rare rows, and what that costs.

    python experiments/coverage.py [--runs 2000]

Rows are drawn from a known distribution, or from those of a check on all inputs of `digits`, and looked at
after 32, 64, 96 and 128. A run errs where an interval misses the mean at some look: it would decide against
a gate that is there. Asymptotic intervals alone, and as the gate of such rows uses them.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from xattr_check import Run, Store, checks, load_method, load_subject
from xattr_check.core.checks import Axiom
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw
from xattr_check.statistics.betting import guarded
from xattr_check.statistics.intervals import Interval, mean_interval
from xattr_check.statistics.shares import share_interval

LOOKS = (32, 64, 96, 128)
RATE = 0.001
Rows = Callable[[int, torch.Generator], Tensor]
Judge = Callable[[Tensor, int], Interval]
# On which a check is measured, by method: where its rows are skewed, or 0 and 1.
MEASURED = (
    ("insertion", "gradcam"),
    ("insertion", "integrated_gradients"),
    ("deletion", "gradcam"),
    ("completeness", "integrated_gradients?steps=4"),
    ("pointing_game", "gradcam"),
    ("input_dependence", "gradient"),
    ("class_sensitivity_single", "integrated_gradients?steps=16"),
    ("sensitivity_n", "gradcam"),
)


def uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def normal(n: int, generator: torch.Generator) -> Tensor:
    return 0.5 + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64).clamp(-5, 5)


def exponential(n: int, generator: torch.Generator) -> Tensor:
    return (-uniform(n, generator).log() / 20).clamp_max(1)


def powers(n: int, generator: torch.Generator) -> Tensor:
    """Most of them nearly 0, as gaps are."""
    return uniform(n, generator) ** 9


def rare(n: int, generator: torch.Generator) -> Tensor:
    return torch.where(uniform(n, generator) < 0.1, uniform(n, generator), 0.0)


def hits(share: float) -> Rows:
    return lambda n, generator: (uniform(n, generator) < share).double()


KNOWN: dict[str, tuple[Rows, float, tuple[float, float]]] = {
    "normal": (normal, 0.5, (0, 1)),
    "uniform": (uniform, 0.5, (0, 1)),
    "exponential": (exponential, 0.05, (0, 1)),
    "ninth powers of uniform": (powers, 0.1, (0, 1)),
    "a tenth uniform, else 0": (rare, 0.05, (0, 1)),
    "0 or 1, half": (hits(0.5), 0.5, (0, 1)),
    "0 or 1, a tenth": (hits(0.1), 0.1, (0, 1)),
    "0 or 1, a hundredth": (hits(0.01), 0.01, (0, 1)),
}


def errors(rows: Rows, mean: float, judge: Judge, runs: int) -> float:
    """Runs in a thousand of which an interval misses the mean."""
    generator, wrong = torch.Generator().manual_seed(0), 0
    for _ in range(runs):
        drawn = rows(max(LOOKS), generator)
        for n in LOOKS:
            found = judge(drawn[:n], n)
            if not found.low - 1e-12 <= mean <= found.high + 1e-12:
                wrong += 1
                break
    return 1000 * wrong / runs


def measured() -> Iterator[tuple[str, Tensor, Axiom, bool]]:
    """Rows of all inputs of the digits: those that a gate judges, differences from a control among them."""
    subject, known = load_subject("digits"), checks()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(store=Store(Path(folder)), budget="full")
        for name, method in MEASURED:
            check = known[name]
            on = subject if check.on is None else check.on(subject, run)
            draw = Draw(run, on, torch.arange(len(on.inputs)), 0)

            def rows(of: str, check: Axiom = check, draw: Draw = draw, run: Run = run) -> Tensor:
                explainer = Explainer.of(load_method(f"xattr:{of}"), draw.subject, run)
                return check(explainer, draw.subject, draw).samples.double()

            own = rows(method)
            beats = check.gate.bound is None
            if beats:
                own = own - rows("edges")
            yield f"{name} of {method}{' over edges' if beats else ''}", own, check, beats


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    print("| rows | asymptotic alone, wrong in 1000 | as judged |\n|---|---|---|")

    def plain(rows: Tensor, n: int) -> Interval:
        return mean_interval(rows, RATE)

    for label, (rows, mean, bounds) in KNOWN.items():

        def judge(drawn: Tensor, n: int, bounds: tuple[float, float] = bounds) -> Interval:
            if bool(((drawn == 0) | (drawn == 1)).all()):
                return share_interval(drawn, RATE)
            return guarded(mean_interval(drawn, RATE), drawn, bounds)

        exact = judge if not label.startswith("0 or 1") else shares
        print(f"| {label} | {errors(rows, mean, plain, runs):.1f} | {errors(rows, mean, exact, runs):.1f} |")
    for label, population, check, paired in measured():

        def drawn_from(n: int, generator: torch.Generator, population: Tensor = population) -> Tensor:
            return population[torch.randint(len(population), (n,), generator=generator)]

        def by_check(drawn: Tensor, n: int, check: Axiom = check, paired: bool = paired) -> Interval:
            return check.guard(check.estimate(drawn, RATE), drawn, paired)

        mean = float(population.mean())
        print(
            f"| {label} | {errors(drawn_from, mean, plain, runs):.1f} "
            f"| {errors(drawn_from, mean, by_check, runs):.1f} |"
        )


def shares(rows: Tensor, n: int) -> Interval:
    """The exact interval of rows of 0 and 1."""
    return share_interval(rows, RATE)


if __name__ == "__main__":
    main()
