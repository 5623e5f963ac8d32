"""Fingerprints: which method, control or product of both the maps of a method are most like."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from xattr_check.core.explainer import Explainer
from xattr_check.core.method import MEAN, Method
from xattr_check.core.run import Draw, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import MethodError, Undefined
from xattr_check.statistics.similarity import spearman

# How many of the subject's inputs are looked at.
INPUTS = 32


@dataclass(frozen=True)
class Likeness:
    """What maps are like.

    name: of a method, or `CONTROL × METHOD`. value: mean rank correlation over inputs.
    """

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.value:.2f} {self.name}"


def drawn(subject: Subject, run: Run) -> Draw:
    """The inputs on which maps are held against each other."""
    return next(iter(run.draws("fingerprint", subject, INPUTS)))


def scores(method: Method, draw: Draw) -> Tensor:
    """(n, P) float64: how much evidence each feature is, as checks read it. Raises what the method does."""
    subject = draw.subject
    with draw.scope():
        return Explainer.of(method, subject, draw.run).scores(subject.model, draw.inputs, draw.targets)


def from_means(methods: Mapping[str, Method], subject: Subject) -> dict[str, Method]:
    """The methods, and those that start from zero from the subject's mean too, where that is elsewhere."""
    found = dict(methods)
    for name, one in methods.items():
        if subject.far_from_zero and one.from_zero:
            spec = f"{name}{'&' if '?' in name else '?'}baseline={MEAN}"
            found[spec] = one.with_parameters(spec, {"baseline": MEAN})
    return found


def known_scores(known: Mapping[str, Method], draw: Draw) -> dict[str, Tensor]:
    """The scores of each method that the subject allows, from the store where they are there; by name."""
    found = {}
    for name, one in known.items():
        if not one.needs <= draw.subject.offers:
            continue
        with suppress(MethodError, Undefined):
            found[name] = draw.shared("fingerprint", _computing(one, draw), method=name, code=one.source)[
                "scores"
            ]
    return found


def _computing(method: Method, draw: Draw) -> Callable[[], dict[str, Tensor]]:
    def compute() -> dict[str, Tensor]:
        draw.run.progress(f"fingerprint: maps of {method.name}")
        return {"scores": scores(method, draw)}

    return compute


def nearest(
    own: Tensor, known: Mapping[str, Tensor], controls: Mapping[str, Tensor], count: int = 1
) -> list[Likeness]:
    """What scores (n, P) are most like, the most first: a method, a control, or a product of both.

    known, controls: scores by name. Of a product, the control's magnitude counts.
    """
    single = {**controls, **known}
    mixed = {
        f"{control} × {name}": values.abs() * known[name]
        for (control, values), name in product(controls.items(), known)
        if not _is_constant(values)
    }
    found = [
        Likeness(name, float(spearman(own, other).mean())) for name, other in {**single, **mixed}.items()
    ]
    return sorted(found, key=lambda one: -one.value)[:count]


def _is_constant(values: Tensor) -> bool:
    return bool((values == values[:, :1]).all())


def alike(first: Tensor, second: Tensor) -> float:
    """How far two methods say the same of inputs, by scores (n, P): by their ranks, and by their signs.

    The mean rank correlation, or the share of the first one's evidence on which the second has the same sign,
    whichever is less: what is scaled says the same, and what has lost its zero does not.
    """
    weight = first.abs()
    same = (torch.sign(first) == torch.sign(second)).double()
    share = (weight * same).sum(1) / weight.sum(1).clamp_min(1e-300)
    return min(float(spearman(first, second).mean()), float(share.mean()))
