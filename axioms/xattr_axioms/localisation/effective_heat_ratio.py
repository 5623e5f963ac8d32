"""Effective heat ratio."""

import torch
from torch import Tensor

from xattr_axioms.localisation._masks import beside_mask, foreground, heat, localisation
from xattr_check.core import Beats, Draw, Explainer, Lines, Measurement, Subject

# Quantiles besides the first; twice as many move an area by less than 0.002.
STEPS = 20


def heat_ratios(heat: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Two curves (n, STEPS + 1) over quantile thresholds 0…1 of heat (n, P) ≥ 0, beside a mask (n, P).

    Of the features at or above the threshold, and above zero: their heat on the mask, by all their heat;
    and by their number, as published, with heat on its own scale.
    """
    ranked, order = heat.sort(dim=1, descending=True)
    above = torch.linspace(heat.shape[1], 1, STEPS + 1, device=heat.device).round().long()
    # Ties at the threshold are above it, so that no order among them matters; zero is no heat.
    ends = torch.searchsorted(-ranked, -ranked[:, above - 1], right=True)
    ends = torch.minimum(ends, (heat > 0).sum(1, keepdim=True)).clamp_min(1)
    inside, every = (part.cumsum(1).gather(1, ends - 1) for part in (ranked * mask.gather(1, order), ranked))
    return inside / every, inside / ends


@localisation(
    statement="At every threshold, more heat lies on what makes the target than a picture shows by itself.",
    # On the digits edges come to 0.24, a blob in the centre to 0.13 and noise to 0.07; gradcam to 0.36,
    # smoothgrad and occlusion to 0.4, sharper methods to 0.5 to 0.7; maps that are turned or shifted to 0.15.
    # By the number of features, with the largest heat as its unit, integrated gradients (0.07) come below
    # edges (0.11): few of their pixels come near the largest.
    gate=Beats(by=0.03),
    cites="zhang2021",
    reads="mean share of the heat above a threshold that lies on the mask",
)
def effective_heat_ratio(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Area under the heat ratio over quantile thresholds from 0 to 1, for each input.

    The heat ratio of [zhang2021] is the heat on the mask by the number of features above the threshold, which
    takes heat to have a unit, such as bits. Attributions have none, so it is over the heat of these features
    here; the two are the same where heat is 1 or 0. Case (c) of Fig. 11 there is lost by that: little heat,
    all of it on the mask, comes to 1 here, as much heat does. The evidence has both curves, the published one
    with heat on the map's own scale, which compares maps of one unit. Features without heat are above no
    threshold in either. A map whose sum over the mask is against the target counts as the same everywhere, if
    not in the published curve.
    """
    mask = foreground(subject, draw)
    found, told = heat(method, subject, draw, mask)
    ratio, _ = heat_ratios(found, mask)
    _, published = heat_ratios(heat(method, subject, draw)[0], mask)
    area = torch.trapezoid(ratio, dx=1 / STEPS, dim=1)
    places = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64).tolist()
    lines = Lines("threshold, as a quantile of the map", "share of the heat on the mask", places, {"": ratio})
    evidence = {"heat_ratio": ratio, "published_heat_ratio": published}
    return Measurement(area, beside_mask(told, found, mask), evidence, lines)
