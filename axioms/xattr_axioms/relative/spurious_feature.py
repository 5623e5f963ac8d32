"""Spurious feature."""

import torch
from torch import Tensor, nn

from xattr_axioms.relative._scenes import logits
from xattr_check.core import AtLeast, Draw, Explainer, Invalid, Measurement, Run, Subject, axiom

WITHOUT = "without_spurious"
# By how much more the probability of what the sibling says has to fall without the feature than the model's.
LEAST = 0.5


def expect_use(subject: Subject, run: Run) -> Subject:
    """The subject itself, where forward passes show that the sibling uses the feature and the model does not.

    Raises Invalid where they do not.
    """
    falls = []
    for model in (subject.siblings["spurious"], subject.model):
        shown, bare = (logits(model, images, run) for images in (subject.inputs, subject.truth[WITHOUT]))
        answers = shown.argmax(1)
        before, after = (subject.output.probability(one, answers) for one in (shown, bare))
        falls.append(float((before - after).mean()))
    if falls[0] - falls[1] < LEAST:
        raise Invalid(
            f"without the feature the probability of what the sibling 'spurious' says falls by "
            f"{falls[0]:.2f} and that of the model by {falls[1]:.2f}; they have to be {LEAST} apart"
        )
    return subject


@axiom(
    statement="A feature moves a map of the network that uses it more than one of a network that does not.",
    family="relative",
    # A map that no network has a part in comes to 0, and so do edges times the output; edges with a little of
    # the gradient come to 0.01. On the digits, whose tint one network learned, the gradient comes to 0.1,
    # input × gradient to 0.15, integrated gradients, lrp and deeplift to 0.3, gradcam to 0.7.
    gate=AtLeast(0.05),
    cites="yang2019, sbsa2022",
    reads="more of the map moves with the feature for the network that uses it",
    bounds=(-1, 1),
    needs=(WITHOUT, "sibling spurious", "accuracy"),
    on=expect_use,
    negative=("random", "edges", "input_magnitude", "center", "constant"),
    cost="standard",
)
def spurious_feature(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """How much of a map moves with a feature, of the sibling that learned it less that of the model.

    Of the maps of an input with the feature and without it, magnitudes as shares of all: half the sum of the
    differences, from 0 to 1, and 1 where one of them is empty. Shares, since a map that is the output times
    anything changes with it. Both networks are explained for what they say of the input with the feature. A
    feature need not be a place of its own: the tint of a digit is where its shape is, and a map of places
    shows it only by how it changes with it. Where a network only adds it to its output, the gradient is the
    same with it and without: such a map shows it, and does not move, and fails here.
    """
    inputs, without = draw.inputs, draw.truth(WITHOUT)

    def moved(model: nn.Module) -> Tensor:
        answers = logits(model, subject.inputs, draw.run)[draw.indices.to(inputs.device)].argmax(1)
        shown, bare = (shares(method.scores(model, some, answers)) for some in (inputs, without))
        empty = shown.any(1) != bare.any(1)
        return torch.where(empty, 1.0, (shown - bare).abs().sum(1) / 2)

    spurious, own = moved(subject.siblings["spurious"]), moved(subject.model)
    return Measurement(spurious - own, evidence={"spurious": spurious, "model": own})


def shares(scores: Tensor) -> Tensor:
    """(n, P) of the magnitude of scores (n, P), 0 where there is none."""
    sizes = scores.abs()
    return sizes / sizes.sum(1, keepdim=True).clamp_min(1e-300)
