"""Indices that claim to decompose a variance."""

import inspect

import torch

from xattr_axioms.variance._variance import regions_of
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.errors import MethodError
from xattr_check.storage.digest import digest


@axiom(
    statement="First-order indices lie between zero and the total ones of the same method.",
    family="variance",
    # Sums over regions, since a single S₁ is off by more than S_T is large where there are many of them
    # (docs/variance.md). sobol_sbsa comes to 0.02 to 0.04 on the digits, to -0.01 to 0.02 on products of
    # columns, and to 0.04 to 0.12 on sums of columns, where both indices are the same and sampling error is
    # all there is; with S₁ shuffled among the regions to 0.34, 0.26 and 0.44 at least, with its indices
    # exchanged to 0.4 and more on the first two.
    gate=AtMost(0.15),
    cites="sobol2001",
    reads="by which first-order indices add up to more than the total ones of the same regions, or to less "
    "than zero, as a share of the total ones",
    claimed=True,
    # Two maps of each input, by a method that takes thousands of forward passes for one.
    cost="standard",
)
def variance_decomposition(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """max(−Σ S₁, Σ S₁ − Σ S_T, Σ′ S₁ − Σ′ S_T) / Σ S_T, for each input.

    Σ goes over all regions, and Σ′ over the half of them with the lowest S_T: what is in the wrong place adds
    up to more there. The regions are the subject's own where they are few, else a grid.

    A method that claims it has a parameter `index`, which is `first` for maps of S₁ and `total` for maps of
    S_T; of others it is not asked, nor of one that refuses these with its other parameters.
    """
    if "index" not in inspect.signature(method.method.function).parameters:
        raise Undefined("the method has no parameter `index` that is 'first' or 'total'")
    asked = subject.model, draw.inputs, draw.targets
    method(*asked)  # what it raises whatever the index is, it raises here
    try:
        maps = [_explainer(method, subject, draw, index)(*asked) for index in ("first", "total")]
    except MethodError as error:
        if "variance_decomposition" in method.method.claims:
            raise
        raise Undefined(f"the method has no such index with its other parameters: it {error}") from None
    regions = regions_of(subject)
    first, total = (regions.sums(subject.layout.scores(one)) for one in maps)
    gaps = first - total
    lowest = gaps.gather(1, total.argsort(1)[:, : regions.count // 2]).sum(1)
    sums = first.sum(1), total.sum(1)
    worst = torch.maximum(torch.maximum(-sums[0], gaps.sum(1)), lowest) / sums[1].abs().clamp_min(1e-12)
    finding = (
        f"first-order indices add up to {float(sums[0].mean()):.2f}, total ones to "
        f"{float(sums[1].mean()):.2f}; by {float(lowest.mean()):.2f} more where the total ones are lowest"
    )
    return Measurement(worst, finding, evidence={"first": first, "total": total})


def _explainer(method: Explainer, subject: Subject, draw: Draw, index: str) -> Explainer:
    """The method with that index, once in a run, so that maps are computed once."""
    key = digest("index", id(method), index, subject.fingerprint)
    found: Explainer = draw.run.once(
        key,
        lambda: Explainer.of(method.method.with_parameters(method.name, {"index": index}), subject, draw.run),
    )
    return found
