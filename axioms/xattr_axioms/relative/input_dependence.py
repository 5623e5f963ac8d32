"""Input dependence."""

from dataclasses import replace

from torch import Tensor

from xattr_axioms.relative._scenes import NEEDS, logits
from xattr_check.core import AtLeast, Draw, Explainer, Invalid, Measurement, Run, Subject, axiom

# Fewer inputs on which the object takes evidence away say nothing about a method.
LEAST = 16


def hidden_evidence(subject: Subject, run: Run) -> Subject:
    """The scene's model on inputs where the object hides evidence: its logit is higher without the object."""
    model, scenes = subject.siblings["scene"], subject.truth["scene"]
    bare, hidden = (
        logits(model, images, run).gather(1, scenes[:, None]).squeeze(1)
        for images in (subject.truth["background"], subject.inputs)
    )
    rows = (bare > hidden).nonzero().squeeze(1)
    if len(rows) < LEAST:
        raise Invalid(
            f"the object hides evidence for its scene on {len(rows)} of {len(scenes)} inputs, and has to on "
            f"{LEAST} at least"
        )
    # What makes the target is the scene now, and no mask of it: the object's goes by another name.
    known = {"object": subject.truth["mask"], "background": subject.truth["background"]}
    return replace(
        subject,
        name=f"the scenes of {subject.name}",
        model=model,
        inputs=subject.inputs[rows],
        targets=scenes[rows],
        truth={name: values[rows] for name, values in known.items()},
        causal=False,
        concepts={},
        siblings={},
        recipe=None,
        generated={},
    )


@axiom(
    statement="What an object hides is more important to the scene than the object that hides it.",
    family="relative",
    # Chance is one half. On the digits good methods come to 0.71 (guided backpropagation) to 1 (gradcam),
    # mostly 0.8 to 0.95; a wrong target or sign to 0.35 and 0, a moved map to 0.5 to 0.65, edges to 0.01.
    # With a square of the data's mean over the object's box instead, the input's magnitude came to 1 and
    # edges to 0.7, beside deeplift at 0.9 and the gradient at 0.2.
    gate=AtLeast(0.6),
    cites="yang2019",
    reads="of the inputs have less evidence for their scene where an object hides it",
    bounds=(0, 1),
    rows="shares",
    needs=NEEDS,
    on=hidden_evidence,
    # Noise and the input's magnitude come to one half, which a few inputs do not tell from the gate.
    negative=("edges", "center", "constant"),
)
def input_dependence(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Input dependence rate of [yang2019]: whether the region's attribution is lower with the object on it.

    The sum over the region, as a share of the map's magnitude, so that a map that is weaker everywhere is not
    credited: with its sign, and of magnitudes where the method is a sensitivity, whose sign is no evidence.
    Only inputs on which the model's own logit falls with the object are asked. The evidence has the published
    rate: whether the signed sum itself is lower, for every method.

    The object stands for the grey square by which the source tells the idea. The square itself asks nothing
    of a map: where all is flat, those fall that no model has a part in, such as the edges.
    """
    mask = draw.truth("object").flatten(1)

    def on_region(images: Tensor) -> tuple[Tensor, Tensor]:
        asked = subject.model, images, draw.targets
        scores = method.scores(*asked)
        share = (scores * mask).sum(1) / scores.abs().sum(1).clamp_min(1e-300)
        return share, (method.signed(*asked) * mask).sum(1)

    (hidden, lower), (bare, higher) = (
        on_region(images) for images in (draw.inputs, draw.truth("background"))
    )
    evidence = {"with_object": hidden, "without_object": bare, "published": (lower < higher).double()}
    return Measurement((hidden < bare).double(), evidence=evidence)
