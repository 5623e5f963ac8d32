"""Accuracy of networks trained on what a method's ranking leaves of the inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xattr_check.core import Draw, Explainer, Lines, Measurement, Subject, Undefined
from xattr_check.core.layouts import Layout
from xattr_check.core.units import Units
from xattr_check.networks.retrain import Networks, Retrainable, Versions
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.outputs import descending_ranks
from xattr_check.statistics.shares import share_interval
from xattr_check.storage.digest import derive_seed, digest

# Of the regions, in [hooker2019].
PERCENTAGES = (10, 30, 50, 70, 90)
# Of the way from chance to 1: so far a network has to come on whole inputs, or there is nothing to lose.
LEAST_SKILL = 0.5
# Of the way from chance to 1: what the kept pattern alone may give away. The outline of an object says
# something of its class, and right maps have it: on the digits gradients come to 0.11 of the way at one
# percentage, gradcam to 0.27, integrated gradients to 0.34, and a map that spells out the class to 0.99. So
# the pattern has to give besides so much of what is recognised.
LARGEST_LEAK, LARGEST_PART = 0.1, 2 / 3
# How sure it has to be that the leak is larger.
LEAK_ERROR_RATE = 0.05


def select_features(
    scores: Tensor,
    regions: Tensor,
    generator: torch.Generator,
    percentages: Sequence[int] = PERCENTAGES,
    *,
    best: bool,
) -> Tensor:
    """(R, N, P) bool: the features of N inputs that are left at each of R percentages.

    scores: (N, P); regions: (P,); they are ranked by the mean score of their region, ties at random.
    best: whether the so many per cent with the highest scores are kept, or removed.
    """
    count = int(regions.max()) + 1
    members = torch.zeros(count, len(regions), dtype=torch.float64, device=scores.device)
    members[regions, torch.arange(len(regions), device=scores.device)] = 1
    ranks = descending_ranks(scores @ (members / members.sum(1, keepdim=True)).T, generator)[:, regions]
    cuts = torch.tensor([round(count * share / 100) for share in percentages], device=ranks.device)
    above = ranks < cuts[:, None, None]
    return above if best else ~above


def retrained(
    method: Explainer, subject: Subject, draw: Draw, percentages: tuple[int, ...], *, best: bool
) -> Measurement:
    """Share of the percentages at which an input is still recognised, for each input of the draw.

    A network for each percentage is trained from scratch on the recipe's pool, where the regions ranked
    highest are all that is kept of each image (best), or what is replaced by the mean. So are the inputs.
    """
    if not isinstance(subject, Retrainable):
        raise Undefined("needs a pool to train networks on")
    pool, regions = subject.pool, Units.of(subject, "regions").index.flatten()
    whole = _accuracy_on_whole_inputs(subject, draw)
    explainer = Explainer.of(method.method, pool, draw.run)
    keep = [
        select_features(scores, regions, draw.generator("ties"), percentages, best=best)
        for scores in (
            explainer.scores(pool.model, pool.inputs, pool.targets),
            method.scores(subject.model, draw.inputs, draw.targets),
        )
    ]
    draw.run.progress(f"training {len(percentages)} networks on what {method.name} leaves of the inputs")
    fill = mean_fill(subject, draw.inputs[:1])[0]
    left = [
        _fill(one, fill, _masks(subject.pool.layout, kept_of))
        for one, kept_of in zip((pool.inputs, draw.inputs), keep, strict=True)
    ]
    correct = _correct(subject, left, draw.targets, len(percentages), draw.seed)
    accuracy = correct.double().mean(1)
    evidence = {
        "percentage": torch.tensor(percentages),
        "accuracy": accuracy,
        "accuracy_on_whole_inputs": whole,
    }
    shares = ", ".join(map(str, percentages))
    finding = f"accuracy {_said(accuracy)} at {shares} %, {float(whole):.2f} on whole inputs"
    uninformative = ""
    if method.method.control is None:
        known = _known_from_the_fill(method, subject, draw, keep, percentages)
        leak = known.double().mean(1)
        evidence["accuracy_from_the_fill_alone"] = leak
        finding += f", {_said(leak)} from the place of the fill alone"
        # What is kept may be recognised by its pattern; what is removed leaves a pattern that can only harm.
        uninformative = _leaks(known, accuracy, _chance(subject), percentages) if best else ""
    rows = {"": correct.double().T}
    lines = Lines("per cent kept" if best else "per cent removed", "accuracy", percentages, rows)
    return Measurement(correct.double().mean(0), finding, evidence, lines, uninformative=uninformative)


def _accuracy_on_whole_inputs(subject: Retrainable, draw: Draw) -> Tensor:
    """() accuracy of a network trained with nothing removed. Raises Undefined where it learns too little."""

    def compute() -> dict[str, Tensor]:
        draw.run.progress("training a network on whole inputs")
        versions: list[Versions] = [
            lambda rows, inputs=inputs: inputs[rows][None]  # type: ignore[misc]
            for inputs in (subject.pool.inputs, subject.inputs)
        ]
        correct = _correct(subject, versions, subject.targets, 1, derive_seed("whole", draw.run.seed))
        return {"accuracy": correct.double().mean()}

    key = {"subject": subject.fingerprint, "seed": draw.run.seed, "device": draw.run.device.type}
    accuracy = draw.run.store.fetch("retrained", key, compute)["accuracy"]
    least = least_accuracy(subject)
    if float(accuracy) < least:
        raise Undefined(
            f"a network trained on whole inputs is right on {float(accuracy):.2f} of them, and should be on "
            f"{least:.2f}: there is little to lose; give the subject's recipe more epochs or a larger pool"
        )
    return accuracy


def least_accuracy(subject: Subject) -> float:
    """What a network has to come to on whole inputs, or there is nothing to lose."""
    chance = _chance(subject)
    return chance + LEAST_SKILL * (1 - chance)


def _chance(subject: Subject) -> float:
    """The accuracy of the most frequent target."""
    return float(subject.targets.bincount().max()) / len(subject.targets)


def _leaks(known: Tensor, accuracy: Tensor, chance: float, percentages: Sequence[int] = PERCENTAGES) -> str:
    """Why what is kept says nothing, or an empty string: its pattern alone gives the target away.

    known: (R, n) bool, inputs that are recognised by the pattern alone. accuracy: (R,) from what is kept.
    """
    limit = chance + LARGEST_LEAK * (1 - chance)
    leaks = {
        percentage: float(rows.mean())
        for percentage, rows, kept in zip(percentages, known.double().cpu(), accuracy.tolist(), strict=True)
        if share_interval(rows, LEAK_ERROR_RATE).low > limit
        and float(rows.mean()) - chance > LARGEST_PART * (kept - chance)
    }
    if not leaks:
        return ""
    told = ", ".join(f"{leak:.2f} at {percentage} %" for percentage, leak in leaks.items())
    return (
        f"which regions are kept gives the target away without what is in them: accuracy from their place "
        f"alone {told}, where chance is {chance:.2f}"
    )


def _known_from_the_fill(
    method: Explainer, subject: Retrainable, draw: Draw, keep: list[Tensor], percentages: tuple[int, ...]
) -> Tensor:
    """(R, n) bool: inputs named by networks that see where the fill is and nothing else, once in a run.

    Whether the best features are kept or removed: one is the other's negative.
    """

    def compute() -> Tensor:
        draw.run.progress(f"training {len(percentages)} networks on the place of the fill alone")
        places = [
            _places(one, _masks(subject.pool.layout, kept_of))
            for one, kept_of in zip((subject.pool.inputs, draw.inputs), keep, strict=True)
        ]
        return _correct(subject, places, draw.targets, len(percentages), draw.seed)

    found: Tensor = draw.run.once(digest("leakage", id(method), subject.fingerprint, percentages), compute)
    return found


def _correct(
    subject: Retrainable, versions: list[Versions], targets: Tensor, count: int, seed: int
) -> Tensor:
    """(R, n) bool: which targets (n,) networks name that were trained on versions of the pool."""
    seeds = [derive_seed("network", seed, number) for number in range(count)]
    networks = Networks(subject.training, seeds, subject.pool.inputs.device, subject)
    networks.train(versions[0], subject.pool.targets, derive_seed("order", seed))
    return networks.correct(versions[1], targets)


def _fill(inputs: Tensor, fill: Tensor, masks: Tensor) -> Versions:
    """Versions of inputs (N, *F) with fill (*F) where masks (R, N, …) are False."""
    return lambda rows: torch.where(masks[:, rows], inputs[rows], fill)


def _places(inputs: Tensor, masks: Tensor) -> Versions:
    """Versions of inputs (N, *F) that are 1 where masks (R, N, …) are True and −1 elsewhere."""
    one = torch.ones_like(inputs[:1])
    return lambda rows: torch.where(masks[:, rows], one, -one)


def _masks(layout: Layout, keep: Tensor) -> Tensor:
    """(R, N, P) as masks of inputs: one for all channels, or for all of a token's embedding."""
    return layout.expand(keep.unflatten(-1, layout.spatial))


def _said(numbers: Tensor) -> str:
    return " ".join(f"{float(number):.2f}" for number in numbers)
