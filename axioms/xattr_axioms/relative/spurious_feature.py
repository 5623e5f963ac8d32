"""Spurious feature."""

import torch
from torch import Tensor, nn

from xattr_axioms.localisation._masks import share_on
from xattr_axioms.relative._scenes import logits
from xattr_check.core import AtLeast, Draw, Explainer, Invalid, Measurement, Run, Subject, axiom
from xattr_check.perturbation.fills import mean_fill

WITHOUT = "without_spurious"
# By how much more the probability of what the sibling says has to fall without the feature than the model's.
LEAST = 0.5


def falls(subject: Subject, without: Tensor, run: Run) -> tuple[float, float]:
    """By how much the probability falls of what the sibling and the model say of inputs, each the mean."""
    found = []
    for model in (subject.siblings["spurious"], subject.model):
        shown, bare = (logits(model, images, run) for images in (subject.inputs, without))
        answers = shown.argmax(1)
        before, after = (subject.output.probability(one, answers) for one in (shown, bare))
        found.append(float((before - after).mean()))
    return found[0], found[1]


def expect_use(subject: Subject, run: Run) -> Subject:
    """The subject itself, where forward passes show that the sibling uses the feature and the model does not.

    Raises Invalid where they do not.
    """
    sibling, model = falls(subject, subject.truth[WITHOUT], run)
    if sibling - model < LEAST:
        raise Invalid(
            f"without the feature the probability of what the sibling 'spurious' says falls by "
            f"{sibling:.2f} and that of the model by {model:.2f}; they have to be {LEAST} apart"
        )
    return subject


def places(subject: Subject, inputs: Tensor, without: Tensor) -> Tensor:
    """(n, P) bool: where inputs are not what they are without the feature."""
    by_feature = subject.layout.by_feature
    return (by_feature(inputs) != by_feature(without)).any(2)


def has_own_place(subject: Subject, run: Run) -> bool:
    """Whether forward passes show that the model has no use for all that lies where the feature does either.

    The mean of the data is put there: a digit goes with its tint, a pulse goes alone.
    """
    layout, inputs = subject.layout, subject.inputs
    mean = layout.by_feature(mean_fill(subject, inputs))
    where = places(subject, inputs, subject.truth[WITHOUT])[:, :, None]
    sibling, model = falls(
        subject, layout.from_features(torch.where(where, mean, layout.by_feature(inputs))), run
    )
    return sibling - model >= LEAST


@axiom(
    statement="A feature has more part in a map of the network that uses it than in one that does not.",
    family="relative",
    # A map that no network has a part in comes to 0, and so do edges times the output; edges with a little of
    # the gradient come to 0.01. On the digits, whose tint one network learned, the gradient comes to 0.1,
    # input × gradient to 0.15, integrated gradients, lrp and deeplift to 0.3, gradcam to 0.7. On a pulse in a
    # signal the gradient comes to 0.06 to 0.11, what divides the output among features to 0.2 to 0.5.
    gate=AtLeast(0.05),
    cites="yang2019, sbsa2022",
    reads="more of the map is on the feature, or moves with it, for the network that uses it",
    bounds=(-1, 1),
    needs=(WITHOUT, "sibling spurious", "accuracy"),
    on=expect_use,
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    cost="standard",
)
def spurious_feature(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """How much of a map is a feature's, of the sibling that learned it less that of the model.

    Of magnitudes as shares of all, since a map that is the output times anything changes with it. Both
    networks are explained for what they say of the input with the feature. Where the feature has a place of
    its own, for which the model has no use whatever is there, the share on it: what a network only adds to
    its output leaves a sensitivity as it is, which shows the feature and does not move with it. Elsewhere, as
    the tint of a digit is where its shape is, how the map changes with it: half the sum of the differences
    between shares with the feature and without it, from 0 to 1, and 1 where one of the maps is empty.
    """
    inputs, without = draw.inputs, draw.truth(WITHOUT)
    run = draw.run
    alone = run.once(f"own place, {subject.fingerprint}", lambda: has_own_place(subject, run))
    where = places(subject, inputs, without)

    def part(model: nn.Module) -> Tensor:
        answers = logits(model, subject.inputs, run)[draw.indices.to(inputs.device)].argmax(1)
        if alone:
            return share_on(method.scores(model, inputs, answers).abs(), where)
        shown, bare = (shares(method.scores(model, some, answers)) for some in (inputs, without))
        return torch.where(shown.any(1) != bare.any(1), 1.0, (shown - bare).abs().sum(1) / 2)

    spurious, own = part(subject.siblings["spurious"]), part(subject.model)
    return Measurement(spurious - own, evidence={"spurious": spurious, "model": own})


def shares(scores: Tensor) -> Tensor:
    """(n, P) of the magnitude of scores (n, P), 0 where there is none."""
    sizes = scores.abs()
    return sizes / sizes.sum(1, keepdim=True).clamp_min(1e-300)
