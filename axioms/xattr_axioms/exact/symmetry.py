"""Symmetry."""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import repeat
from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, count_beyond, explain_copy, make_copy
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.subject import FAR
from xattr_check.networks.rewrite import Plain


@axiom(
    statement="Features that may be exchanged in the model get the same attribution where they are equal.",
    family="exact",
    # Mirror images differ by 4e-8 of a map where it holds, and on the digits by 0.09 (fullgrad) to 0.7
    # (gradcam, noise) where it does not; on the columns, where 25 samples of noise break it, by 0.02 to 0.3.
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs have unequal attribution on features that may be exchanged",
    bounds=(0, 1),
    rows="shares",
    claimed=True,
    negative=("random",),
    inputs=INPUTS,
    then=MORE,
)
def symmetry(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where Σ |aᵢ − ā| is more than rounding of Σ |aᵢ|, else 0, for each input.

    Over features i that may be exchanged, ā being their mean.

    The subject's own features, where it knows them (`truth["symmetric"]`, (N, *spatial) bool: those of a row
    may be exchanged with each other, and are equal). Else those of a copy of its model that is given the mean
    of each input and its mirror image, on such means: each feature may be exchanged with its mirror image.
    """
    if "symmetric" in subject.offers:
        chosen = draw.truth("symmetric").flatten(1)
        maps = repeat(method, subject.model, draw.inputs, draw.targets).mean(0)
        scores = subject.layout.scores(maps)
        centre = (scores * chosen).sum(1, keepdim=True) / chosen.sum(1, keepdim=True).clamp_min(1)
        gap, size = ((scores - centre).abs() * chosen).sum(1), (scores.abs() * chosen).sum(1)
        shares = (gap / size.clamp_min(1e-300)).where(chosen.any(1), torch.nan)
        return count_beyond(method, shares, draw)
    if subject.valid is not None:
        raise Undefined(f"a mirror would put padding of {subject.name!r} in the place of words")
    mirrored = subject.layout.mirrored
    deviation = subject.layout.deviation(subject.inputs)
    if bool(((subject.mean - mirrored(subject.mean)).abs() > FAR * deviation).any()):
        # The axiom is of features whose baselines are equal too, and that of the data is the mean.
        raise Undefined(
            f"a mirror would exchange columns of {subject.name!r} whose means are far apart, and with them "
            "what is absent: normalise the columns, or say which are equal in truth['symmetric']"
        )

    def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
        return plain((inputs + mirrored(inputs)) / 2)

    copy = make_copy(draw, "mirror", lambda: (compute, None))
    inputs = (draw.inputs + mirrored(draw.inputs)) / 2
    maps = explain_copy(method, copy, inputs, draw.targets, draw).mean(0)
    gap, size = (maps - mirrored(maps)).abs().flatten(1).sum(1), 2 * maps.abs().flatten(1).sum(1)
    return count_beyond(method, gap / size.clamp_min(1e-300), draw)
