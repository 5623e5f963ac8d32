"""Do attributions agree with effects that are known?"""

import torch

from xattr_check.core import AtLeast, Draw, Explainer, Measurement, Subject, axiom


@axiom(
    statement="Where the effect of every column is known, attributions are proportional to the effects.",
    family="example",
    # On linear_columns right methods come to 1; the gradient, which forgets the input, and noise to 0.
    gate=AtLeast(0.9),
    reads="mean cosine of attributions with the known effects",
    bounds=(-1, 1),
    needs=("effect",),
    negative=("random",),
)
def agrees_with_effects(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Cosine of the attributions of an input with the effects of its columns; one row for each input."""
    maps = method(subject.model, draw.inputs, draw.targets)
    return Measurement(torch.cosine_similarity(maps, draw.truth("effect"), dim=1).double())
