"""What a map has in common with an edge detector beyond its own coarse shape."""

import torch
from torch import Tensor

from xattr_check.core import Draw, Explainer, Measurement, Subject, Undefined, Within, axiom
from xattr_check.core.layouts import Beside, blurred
from xattr_check.statistics.similarity import correlation, ranks

# Of a window: what is finer than a Gaussian of so much is the detail of a map, and of 0.7 features at least,
# which is hardly more than a feature and its neighbours.
DETAIL, LEAST = 0.25, 0.7
# Features with any attribution, at the least: what fewer have in common is chance.
FEWEST = 8


@axiom(
    statement="The detail of a map follows the edges of the input no more than what the model does there.",
    family="sanity",
    # What a picture shows by itself and a map that is right where it is coarse, multiplied: no check of whole
    # maps sees it. On six subjects and three seeds a gradient came to −0.09 to 0.15, the others to 0.18 at
    # most but for deconvnet and fullgrad, 0.27 where the gradient had 0.13; gradcam times edges to 0.55 to
    # 0.9, with edges added to 0.72 to 0.86.
    gate=Within(0.25, of=("gradient", "occlusion"), lower=True),
    cites="adebayo2018",
    reads="partial rank correlation of magnitudes with the input's edges, given their own coarse shape",
    bounds=(-1, 1),
    needs=("neighbours",),
    negative=("edges",),
)
def edge_likeness(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """ρ(A, E | B) for each input: A the magnitude of its map, E its edges, B the magnitude under a Gaussian.

    Where a model looks there are edges, so that A and E go together with every method; given B they do so
    only in the detail. Features without any attribution are left out, of which a rectified map has many, and
    0 where fewer than eight are left. A model may read edges itself: then the gradient or occlusion shows it.
    """
    layout = subject.layout
    if not isinstance(layout, Beside):
        raise Undefined(f"the features of {subject.name!r} are not beside each other, and have no edges")
    found = layout.edges(draw.inputs).double().flatten(1)
    maps = method.signed(subject.model, draw.inputs, draw.targets).abs()
    coarse = blurred(layout.maps(maps), max(LEAST, DETAIL * layout.window)).flatten(1)
    valid = torch.ones_like(maps, dtype=torch.bool) if draw.valid is None else draw.valid
    rows = zip(maps, found, coarse, (maps > 0) & valid, strict=True)
    likeness = [partial(*(one[some][None] for one in three)) for *three, some in rows]
    return Measurement(torch.cat(likeness))


def partial(first: Tensor, second: Tensor, given: Tensor) -> Tensor:
    """(n,) rank correlation of rows of first and second (n, P) that given ones leave; 0 of few features."""
    if first.shape[1] < FEWEST:
        return first.new_zeros(len(first))
    one, two, three = map(ranks, (first, second, given))
    both, left, right = correlation(one, two), correlation(one, three), correlation(two, three)
    scale = ((1 - left**2) * (1 - right**2)).clamp_min(1e-12).sqrt()
    return ((both - left * right) / scale).clamp(-1, 1)
