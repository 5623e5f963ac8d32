"""Outputs of a model while features are shown or removed in the order of their attribution, and areas."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xattr_check.core.explainer import Explainer
from xattr_check.core.outputs.classes import Classes
from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject
from xattr_check.core.units import By, Units
from xattr_check.errors import Undefined
from xattr_check.perturbation.fills import Fill, absent
from xattr_check.perturbation.outputs import Quantity, descending_ranks, outputs_under, ranked_masks
from xattr_check.storage.digest import digest

# Points of a curve besides its start: 64 pixels each at 32 × 32. Twice as many move an area by < 0.01.
STEPS = 16
# Without this much of the target's probability between both ends, as the subject's output has it, there is
# nothing to attribute.
LEAST_EFFECT = 0.1
# What is asked for in place of a fill without effect, the first that has one.
FILLS: tuple[Fill, ...] = ("mean", "zero", "reference", "blur", "noise")


def shares(subject: Subject, by: By, steps: int = STEPS) -> list[float]:
    """Evenly spaced shares of the features, 0 and 1 included, as `whole_shares`."""
    return whole_shares(torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist(), subject, by)


def whole_shares(wanted: Sequence[float], subject: Subject, by: By) -> list[float]:
    """Shares of the features nearest to those wanted, in whole units, each once and ascending.

    Where there are fewer units than steps, some steps would show the same input again.
    """
    count = Units.of(subject, by).count
    numbers = (torch.tensor(wanted, dtype=torch.float64) * count).round().unique()
    found: list[float] = (numbers / count).tolist()
    return found


def ranked_outputs(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    kept: Sequence[tuple[float, float]],
    *,
    fill: Fill,
    by: By,
    targets: Tensor | None = None,
    output: Quantity = "probability",
) -> Tensor:
    """(n, K) float64: a target's output where only features of some ranks are left, for each input.

    kept: K pairs of shares of the features, from where to where in the order of their attribution, the
        highest first and ties at random: (0, 0.2) keeps the highest fifth, (0.2, 1) all the others.
    fill: what stands for the others. by: what is ranked. targets: (n,) int64, by default the draw's.
    output: as for `outputs_under`.

    Raises Undefined where the draw's targets have nearly the same probability without any features.
    """
    targets = draw.targets if targets is None else targets
    units = Units.of(subject, by)
    scores = method.scores(subject.model, draw.inputs, targets, units)
    other = absent(fill, subject, draw)

    valid = units.valid(draw)
    if valid is not None:  # padding comes last, and is not among those that shares are of
        scores = scores.masked_fill(~valid, -torch.inf)

    def under(ranks: Tensor, kept: Sequence[tuple[float, float]]) -> Tensor:
        ends = torch.tensor(kept, dtype=torch.float64, device=ranks.device).reshape(-1, 2)
        counts = units.count if valid is None else valid.sum(1, keepdim=True)[:, None]
        first, last = (ends * counts).round().long().unbind(-1)
        return outputs_under(
            subject.model, draw.inputs, targets, other, ranked_masks(units.spread(ranks), first, last),
            len(kept), output=output, memory=draw.run.memory, layout=subject.layout, explained=subject.output,
        )  # fmt: skip

    _expect_effect(subject, draw, fill)
    places = {(0.0, 1.0): 0, **{pair: 1 for pair in kept if pair[0] >= pair[1]}}
    partial = [pair for pair in kept if pair not in places]
    ranks = descending_ranks(scores, draw.generator("ties"))
    found = torch.cat([_ends(subject, draw, fill, targets, output), under(ranks, partial)], dim=1)
    places |= {pair: number for number, pair in enumerate(partial, start=2)}
    return found[:, [places[pair] for pair in kept]]


def _expect_effect(subject: Subject, draw: Draw, fill: Fill) -> None:
    """Raise Undefined where a fill does not take the probability of the draw's targets down.

    With another fill to ask for, the first that does, if there is one.
    """
    # Of the first draw, for all of them: later ones must not turn a verdict into none.
    effects: dict[Fill, float] = draw.run.once(f"effects of removal, {subject.fingerprint}", dict)
    if fill not in effects:
        effects[fill] = _effect(subject, draw, fill)
    if effects[fill] >= LEAST_EFFECT:
        return
    told = (
        f"with fill={fill} in place of all features the {subject.output.noun} {subject.output.falls} by "
        f"{effects[fill]:z.2f} on average, and should by {LEAST_EFFECT}"
    )
    others = [one for one in FILLS if one != fill and (one != "reference" or subject.reference is not None)]
    for other in others:
        if other not in effects:
            effects[other] = _effect(subject, draw, other)
        if effects[other] >= LEAST_EFFECT:
            raise Undefined(
                f"{told}; with fill={other} it {subject.output.falls} by {effects[other]:z.2f}",
                {"fill": other},
            )
    raise Undefined(
        f"{told}, as with {', '.join(others)}: the model does not see its inputs as evidence for its targets"
        f"{_told_of_predictions(subject, draw)}"
    )


def _told_of_predictions(subject: Subject, draw: Draw) -> str:
    """That the model predicts few of the draw's targets, where it is so."""
    if subject.output.name != Classes.name:
        return ""
    hits = int(_ends(subject, draw, "mean", draw.targets, "correct")[:, 0].sum())
    count = len(draw.targets)
    return f", and predicts {hits} of {count}" if hits < count / 2 else ""


def _effect(subject: Subject, draw: Draw, fill: Fill) -> float:
    """By how much the probability of the draw's targets falls without any features, on average."""
    both = _ends(subject, draw, fill, draw.targets, "probability")
    return float(subject.output.effect(both[:, 0], both[:, 1]).mean())


def _ends(subject: Subject, draw: Draw, fill: Fill, targets: Tensor, output: Quantity) -> Tensor:
    """(n, 2): with all features and without any, whatever their order: the same for all methods."""

    def mask_of(rows: Tensor, columns: Tensor) -> Tensor:
        whole = (columns == 0).reshape(-1, *[1] * len(subject.spatial))
        return whole.expand(-1, *subject.spatial)

    def compute() -> dict[str, Tensor]:
        other = absent(fill, subject, draw)
        outputs = outputs_under(
            subject.model, draw.inputs, targets, other, mask_of, 2, output=output, memory=draw.run.memory,
            layout=subject.layout, explained=subject.output,
        )  # fmt: skip
        return {"outputs": outputs}

    found = draw.shared("ends of curves", compute, fill=fill, targets=digest(targets), output=output)
    return found["outputs"]


def area(curve: Tensor, places: Sequence[float]) -> Tensor:
    """(n, …) area under curves (n, …, k) over k shares of features, by the trapezoid rule, ends included."""
    return torch.trapezoid(curve, torch.tensor(places).to(curve), dim=-1)


def between(curve: Tensor, bound: float, unmoved: Tensor) -> Tensor:
    """Curves (n, k) that are as near to a bound as is known between their ends, which no order moves.

    unmoved: (n,), as for `nearest`.
    """
    inner = nearest(bound, curve, unmoved)[:, None].expand(-1, curve.shape[1] - 2)
    return torch.cat([curve[:, :1], inner, curve[:, -1:]], dim=1)


def nearest(bound: float, seen: Tensor, unmoved: Tensor) -> Tensor:
    """(n,) how near to a bound an order of the features could bring an output, as far as is known: there.

    unmoved: (n,) where all features at once do next to nothing, as where a black image is of the target's
        class: what was nearest of all outputs seen (n, k) stands for the bound. A best that is out of reach
        on some inputs would ask too much of maps on the others.
    """
    nearer = seen.gather(1, (seen - bound).abs().argmin(1, keepdim=True))[:, 0]
    return torch.where(unmoved, nearer, bound).to(seen)
