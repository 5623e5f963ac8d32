"""Dummy."""

import torch
from torch import Tensor

from xattr_axioms.contract._calls import repeat
from xattr_axioms.exact._copies import INPUTS, MORE, SHARE, count_beyond, explain_copy, make_copy, stream
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.units import Units
from xattr_check.networks.rewrite import Plain


@axiom(
    statement="A feature that the model's output does not depend on gets no attribution.",
    family="exact",
    # Of methods that break it, the nearest is LIME on twelve columns, whose samples leave 0.01 of a map; on
    # the digits windows of occlusion reach over the border for 0.4, gradcam spills 0.5, noise 0.5: for every
    # input.
    gate=AtMost(SHARE),
    cites="sundararajan2017",
    reads="of inputs have attribution on features that the output does not depend on",
    bounds=(0, 1),
    rows="shares",
    claimed=True,
    negative=("random", "input_magnitude", "constant"),
    inputs=INPUTS,
    then=MORE,
)
def dummy(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 where more than rounding of Σ |a| is on features without effect, else 0, for each input.

    The subject's own features, where it knows them (`truth["dummy"]`, (N, *spatial) bool). Else those of a
    copy of its model in which zeros stand for half of the regions before anything is computed. Sensitivity
    (b) of [sundararajan2017] is the same axiom.
    """
    if "dummy" in subject.offers:
        dead = draw.truth("dummy").flatten(1)
        maps = repeat(method, subject.model, draw.inputs, draw.targets)
    elif method.method.takes_ids:
        raise Undefined(
            "the method takes ids of tokens, and the copy leaves out embeddings: an id still counts"
        )
    else:
        cells = Units.of(subject, "regions").index
        names = cells.unique()
        if len(names) < 2:
            raise Undefined(f"needs at least 2 regions, subject {subject.name!r} has {len(names)}")
        chosen = torch.randperm(len(names), generator=stream(draw, "dummy"))[: len(names) // 2]
        cut = torch.isin(cells, names[chosen.to(names.device)])
        keep = subject.layout.expand(~cut)

        def compute(plain: Plain, inputs: Tensor, _: None) -> Tensor:
            return plain(torch.where(keep, inputs, 0.0))

        copy = make_copy(draw, "dummy", lambda: (compute, None))
        maps, dead = explain_copy(method, copy, draw.inputs, draw.targets, draw), cut.flatten()
    amounts = subject.layout.scores(maps.mean(0).abs())
    shares = (amounts * dead).sum(1) / amounts.sum(1).clamp_min(1e-300)
    return count_beyond(method, shares, draw)
