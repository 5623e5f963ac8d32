"""Sensitivity."""

import torch
from torch import Tensor, nn

from xattr_axioms.contract._calls import STEPS
from xattr_axioms.exact._copies import explain_copy, make_copy
from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, Undefined, axiom
from xattr_check.core.precision import coarseness
from xattr_check.core.units import Units
from xattr_check.networks.rewrite import Plain
from xattr_check.perturbation.outputs import outputs_under, shared_masks

# Regions that are tried for the one on which the output depends.
CANDIDATES = 16
# Share of the largest attribution below which one counts as zero.
ZERO = 1e-6


@axiom(
    statement="Where two inputs differ in one feature and in the output, the feature gets some attribution.",
    family="exact",
    # 0 for integrated gradients and what removes features, 1 for a gradient; noise reaches the slope from
    # most places, so that smoothgrad comes to 0 to 0.16.
    # 44 pairs without a failure, as many as 128 inputs make, show that a fifth does not fail.
    gate=AtMost(0.2),
    cites="sundararajan2017",
    reads="of pairs of inputs with different outputs get no attribution on the one feature that matters",
    bounds=(0, 1),
    claimed=True,
)
def sensitivity(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """1 for a pair of inputs neither of which has any attribution on the feature, else 0.

    Sensitivity (a) of [sundararajan2017] for a copy of the model that sees one region alone, and whose output
    v is flat below and above a range: hi − relu(hi − lo − relu(v − lo)), the network of that paper. The
    inputs of a pair lie on either side of the range, so that whatever the method's baseline is, it differs
    in output from one of them.
    """
    cells = Units.of(subject, "regions").index
    names = cells.unique()
    order = torch.randperm(len(names), generator=draw.generator("regions")).to(names.device)
    kept = torch.stack([cells == name for name in names[order[:CANDIDATES]]])
    targets = draw.targets[:1].expand_as(draw.targets).contiguous()

    def alone() -> dict[str, Tensor]:
        zeros = torch.zeros_like(draw.inputs)
        outputs = outputs_under(
            subject.model, draw.inputs, targets, zeros, shared_masks(kept), len(kept), output="logit",
            memory=draw.run.memory, layout=subject.layout,
        )  # fmt: skip
        return {"outputs": outputs}

    outputs = draw.shared("one region", alone, candidates=CANDIDATES)["outputs"]
    ends = outputs.quantile(torch.tensor([1 / 3, 2 / 3]).to(outputs), dim=0)
    best = int((ends[1] - ends[0]).argmax())
    low, high = ends[:, best].tolist()
    values = outputs[:, best]
    third = int(min((values < low).sum(), (values > high).sum()))
    step = coarseness(subject.model, draw.inputs)
    if high - low <= max(1e-4, STEPS * step) * float(outputs.abs().max()) or not third:
        raise Undefined(f"no region of {subject.name!r} changes the output by itself")
    keep = subject.layout.expand(kept[best])

    def compute(plain: Plain, inputs: Tensor, beside: nn.ModuleList) -> Tensor:
        inner, outer = beside
        flat: Tensor = high - outer(high - low - inner(plain(torch.where(keep, inputs, 0.0)) - low))
        return flat

    relus = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    copy = make_copy(draw, f"one region {best} {low} {high} {draw.seed}", lambda: (compute, relus))
    rank = values.argsort()
    rows = torch.cat([rank[:third], rank[-third:]])
    maps = explain_copy(method, copy, draw.inputs[rows], targets[rows], draw).abs().amax(0)
    amounts = subject.layout.scores(maps)
    on_it = (amounts * kept[best].flatten()).sum(1)
    none = on_it <= max(ZERO, step) * amounts.sum(1).max()
    return Measurement((none[:third] & none[third:]).double())
