"""Is each score where the feature is that it belongs to?"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from xattr_check.core import AtMost, Draw, Explainer, Invalid, Measurement, Subject, Undefined, axiom
from xattr_check.perturbation.fills import fixed
from xattr_check.perturbation.gradients import MEMORY, gradients_at
from xattr_check.statistics.similarity import correlation

# Gradients on the line from an absent input: as many as tell where evidence is.
STEPS = 8
# Features along one axis; along several at once it is one.
REACH = 2
# What maps have in common with a reference, and what a shift changes in the reference, at the least.
LEAST_LIKENESS, LEAST_CHANGE = 0.2, 0.05
# One half of them tells which shift to judge on the other.
FEWEST = 8
# Of a side, by a map that is shifted twice as far.
MOST_LEFT_OUT = 0.4
# What is compared, by its place in `fits_of`.
MOVED, STILL, BEYOND, OWN = range(4)


@axiom(
    statement="No shift of a map by a feature or two fits what the model does better than the map as it is.",
    family="faithfulness",
    # What follows single features comes to −1 on images, signals, texts and volumes, and to 0.9 to 1.1 once
    # it is moved by one of them; what is made of windows, of a coarse layer or of random masks to between
    # −0.5 and 0.3, moved or not, since one feature is hardly a displacement there. Between them lie smooth
    # maps, as those of lrp on the digits, at −0.4, and at 0.4 once they are moved, and those of a first layer
    # whose filters weigh what is beside a feature more than itself: 0.4 to 0.8 with gradcam, and no mistake.
    gate=AtMost(0.7),
    reads="of what a displaced map would gain by being put back is gained by a shift",
)
def aligned(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """(r(s) − r(0)) / (r (1 − ρ(s))), a row for each input; s the shift that gains most.

    r(s) is the correlation of a map that is shifted by s with a reference, r the largest of all, and ρ(s) the
    correlation of the reference with itself: a reference that is displaced by s comes to 1, and one that is
    not to −1. In place of r(0) stands r(2 s) where that is larger, since a map that is displaced by s fits as
    little on its other side, and one that grows towards an edge fits better still. References are the
    gradient's magnitude, and the path integral of the gradient from an absent input with its sign and
    without; the one that is most alike is taken, and it and the shift are chosen on the other half of the
    inputs. Shifts are by one feature along any axes, or by two along one; what leaves the input is left out
    of all correlations that are compared, and so is padding.

    Undefined where features have no order, as columns, where all inputs are the same, and where maps have
    next to nothing in common with any reference; Invalid where the references themselves are hardly changed
    by a shift.
    """
    if not subject.layout.ordered:
        raise Undefined(f"the features of {subject.name!r} have no order, and so nothing to be moved along")
    shifts = shifts_of(subject.spatial)
    if not shifts:
        raise Undefined(f"the features of {subject.name!r} are too few to be moved: {subject.spatial}")
    if len(subject.inputs) < FEWEST:
        raise Undefined(f"needs at least {FEWEST} inputs, this subject has {len(subject.inputs)}")
    if len(draw.inputs) < FEWEST:  # what is left for the last draw
        return Measurement(torch.empty(0, dtype=torch.float64))
    references = references_of(subject, draw)
    if bool((references == references[:, :1]).all()):
        raise Undefined("the inputs are all the same, and so one input and no sample of them")
    maps = method.scores(subject.model, draw.inputs, draw.targets)
    fits = torch.stack([fits_of(maps, one, draw, shifts) for one in references])
    rows, even = torch.empty_like(maps[:, 0]), torch.arange(len(maps), device=maps.device) % 2 == 0
    chosen = []
    for half in (even, ~even):
        reference, shift, other, scale = _choice(fits[..., ~half].mean(-1))
        moved, beside = fits[reference, shift, [MOVED, other]][:, half]
        rows[half] = (moved - beside) / scale
        chosen.append(str(shifts[shift][0] if len(subject.spatial) == 1 else shifts[shift]))
    lying = f"scores lie {' or '.join(dict.fromkeys(chosen))} features from where they belong"
    return Measurement(rows, lying if float(rows.mean()) > 0 else "")


def _choice(fits: Tensor) -> tuple[int, int, int, float]:
    """The reference that is most alike, the shift that gains most, over what, and a displaced map's gain.

    fits: (references, shifts, 4), as of `fits_of`, over some of the inputs. Raises Undefined and Invalid.
    """
    tells = fits[..., OWN] < 1 - LEAST_CHANGE
    if not bool(tells.any()):
        raise Invalid(f"a shift by {REACH} features changes too little of what the model does to be seen")
    alike = fits[..., [MOVED, STILL]].amax(2).where(tells, -torch.inf).amax(1)
    reference, most = int(alike.argmax()), float(alike.max())
    if most < LEAST_LIKENESS:
        raise Undefined(
            "the maps have too little in common with the model's gradients to say where they lie: "
            f"a correlation of {most:.2g}, of {LEAST_LIKENESS:g} that are needed"
        )
    beside, which = fits[reference][:, [STILL, BEYOND]].max(1)
    gains = (fits[reference, :, MOVED] - beside).where(tells[reference], -torch.inf)
    shift = int(gains.argmax())
    scale = most * (1 - float(fits[reference, shift, OWN]))
    return reference, shift, (STILL, BEYOND)[int(which[shift])], scale


def shifts_of(spatial: Sequence[int]) -> list[tuple[int, ...]]:
    """By one feature along any axes at once, and by more along one, that leave half of each axis at least."""
    axes = range(len(spatial))
    single = [shift for shift in product((-1, 0, 1), repeat=len(spatial)) if any(shift)]
    longer = [
        tuple(by * (axis == along) for axis in axes)
        for along in axes
        for length in range(2, REACH + 1)
        for by in (-length, length)
    ]
    return [
        shift
        for shift in (*single, *longer)
        if all(2 * abs(by) <= side for by, side in zip(shift, spatial, strict=True))
    ]


def references_of(subject: Subject, draw: Draw) -> Tensor:
    """(3, n, P) float64: what each feature does to the target's logit, by its gradients.

    Raises Undefined where the model has none.
    """
    if fault := subject.examination.undifferentiable:
        raise Undefined(f"the model has no gradient ({fault}), by which to say where evidence is")

    def compute() -> dict[str, Tensor]:
        inputs = draw.inputs
        start = fixed("mean", subject, draw)
        places = (torch.arange(STEPS + 1) + 0.5).div(STEPS).clamp_max(1).to(inputs)
        path, slopes = torch.zeros_like(inputs), torch.zeros_like(inputs)

        def points(rows: slice, numbers: slice) -> Tensor:
            along = places[numbers].reshape(-1, *[1] * inputs.ndim)
            return torch.lerp(start[rows], inputs[rows], along)

        found = gradients_at(subject.model, inputs, draw.targets, points, len(places), MEMORY)
        for rows, numbers, gradients in found:
            inner = max(0, STEPS - numbers.start)
            path[rows] += gradients[:inner].sum(0) / STEPS
            slopes[rows] += gradients[inner:].sum(0)  # the last one, at the input itself
        scores = subject.layout.scores
        return {"path": scores(path * (inputs - start)), "slopes": scores(slopes.abs())}

    found = draw.shared("where evidence is", compute, steps=STEPS)
    return torch.stack([found["path"], found["path"].abs(), found["slopes"]])


def fits_of(maps: Tensor, reference: Tensor, draw: Draw, shifts: Sequence[tuple[int, ...]]) -> Tensor:
    """(shifts, 4, n) float64: what correlates with a reference over the same features of it, in this order.

    Maps that are shifted, as they are, and shifted twice as far, −1 where that leaves too little of them; and
    the reference itself, shifted. maps, reference: (n, P).
    """
    spatial = draw.subject.spatial
    maps, reference = (one.unflatten(1, spatial) for one in (maps, reference))
    valid = torch.ones_like(maps[:1]) if draw.valid is None else draw.valid.to(maps).unflatten(1, spatial)
    found = []
    for shift in shifts:
        sides = zip(shift, spatial, strict=True)
        span = 2 if all(abs(2 * by) <= MOST_LEFT_OUT * side for by, side in sides) else 1
        still, moved, *beyond = (_moved(maps, shift, steps, span) for steps in range(span + 1))
        rest, own = (_moved(reference, shift, steps, span) for steps in (0, 1))
        inside = torch.stack([_moved(valid, shift, steps, span) for steps in range(span + 1)]).prod(0)
        rest = _centred(rest, inside)
        four = [correlation(_centred(one, inside), rest) for one in (moved, still, *beyond, own)]
        found.append(torch.stack(four if beyond else [*four[:2], -torch.ones_like(four[0]), four[2]]))
    return torch.stack(found)


def _moved(values: Tensor, shift: Sequence[int], steps: int, span: int) -> Tensor:
    """(n, p): of values (n, *spatial) those so many steps from each feature that has all steps of a span."""
    places = tuple(
        slice(max(0, -span * by) + steps * by, side + min(0, -span * by) + steps * by)
        for by, side in zip(shift, values.shape[1:], strict=True)
    )
    return values[:, *places].flatten(1)


def _centred(values: Tensor, inside: Tensor) -> Tensor:
    """Values (n, p) less their mean inside, and zero elsewhere, where they then change no correlation."""
    mean = (values * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    return (values - mean) * inside
