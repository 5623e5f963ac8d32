"""Indices that claim to decompose a variance."""

import inspect

import torch

from xattr_check.axiom import Measurement, Undefined, axiom
from xattr_check.digest import digest
from xattr_check.explainer import Explainer
from xattr_check.gate import AtMost
from xattr_check.perturb import feature_scores
from xattr_check.run import Draw
from xattr_check.subject import Subject


@axiom(
    statement="First-order indices lie between zero and the total ones of the same method.",
    family="variance",
    # Sums over the regions, since a single S₁ is off by more than S_T is large where there are many of them
    # (docs/variance.md). On the digits sobol_sbsa comes to -0.15 with 4 × 4 cells, on products of columns to
    # -0.2, with its indices exchanged to 0.3 and 0.5.
    gate=AtMost(0.1),
    cites="sobol2001",
    reads="by which first-order indices add up to more than the total ones, or to less than zero, as a share",
    claimed=True,
    # Two maps of each input, by a method that takes thousands of forward passes for one.
    cost="standard",
)
def variance_decomposition(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """max(−Σ S₁, Σ S₁ − Σ S_T) / Σ S_T, for each input.

    A method that claims it has a parameter `index`, which is `first` for maps of S₁ and `total` for maps of
    S_T; of others it is not asked.
    """
    if "index" not in inspect.signature(method.method.function).parameters:
        raise Undefined("the method has no parameter `index` that is 'first' or 'total'")
    maps = (
        _explainer(method, subject, draw, index)(subject.model, draw.inputs, draw.targets)
        for index in ("first", "total")
    )
    first, total = (feature_scores(one, subject.spatial).sum(1) for one in maps)
    worst = torch.maximum(-first, first - total) / total.abs().clamp_min(1e-12)
    finding = (
        f"first-order indices add up to {float(first.mean()):.2f}, total ones to {float(total.mean()):.2f}"
    )
    return Measurement(worst, finding, evidence={"first": first, "total": total})


def _explainer(method: Explainer, subject: Subject, draw: Draw, index: str) -> Explainer:
    """The method with that index, once in a run, so that maps are computed once."""
    key = digest("index", id(method), index, subject.fingerprint)
    found: Explainer = draw.run.once(
        key,
        lambda: draw.run.explainer(method.method.with_parameters(method.name, {"index": index}), subject),
    )
    return found
