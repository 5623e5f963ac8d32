"""Model contrast."""

from xattr_axioms.localisation._masks import share_on
from xattr_axioms.relative._scenes import NEEDS, logits
from xattr_check.core import AtLeast, Draw, Explainer, Invalid, Measurement, Run, Subject, axiom

# By how much more the target's probability has to fall without the object than the scene's.
LEAST = 0.5


def expect_contrast(subject: Subject, run: Run) -> Subject:
    """The subject itself, where forward passes show that the object makes the target and not the scene."""
    falls = []
    for model, targets in (
        (subject.model, subject.targets),
        (subject.siblings["scene"], subject.truth["scene"]),
    ):
        shown, bare = (
            subject.output.probability(logits(model, images, run), targets)
            for images in (subject.inputs, subject.truth["background"])
        )
        falls.append(float((shown - bare).mean()))
    if falls[0] - falls[1] < LEAST:
        raise Invalid(
            f"without the object the probability of its class falls by {falls[0]:.2f} and that of the scene "
            f"by {falls[1]:.2f}; they have to be {LEAST} apart"
        )
    return subject


@axiom(
    statement="An object is more important to the model that names it than to one that names the scene.",
    family="relative",
    # On the digits fullgrad comes to 0.09, smoothgrad to 0.18, gradcam to 0.27, sharper methods to 0.4 to
    # 0.6; a map that no model has a part in to 0, edges with a little of the gradient too; a map turned or
    # shifted, which finds the surroundings of the object, to 0.06.
    gate=AtLeast(0.08),
    cites="yang2019",
    reads="more of the evidence falls on the object for the model that names it than for the scene's",
    bounds=(-1, 1),
    needs=NEEDS,
    on=expect_contrast,
    negative=("random", "edges", "input_magnitude", "center", "constant"),
)
def model_contrast(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Model contrast score of [yang2019]: evidence on the object under either model, for each input.

    As a share of the map's, since two models have logits of different size.
    """
    mask = draw.truth("mask").flatten(1)
    shares = [
        share_on(method.scores(model, draw.inputs, targets).clamp_min(0), mask)
        for model, targets in (
            (subject.model, draw.targets),
            (subject.siblings["scene"], draw.truth("scene")),
        )
    ]
    return Measurement(shares[0] - shares[1], evidence={"object": shares[0], "scene": shares[1]})
