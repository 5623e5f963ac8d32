"""Multi-layer information bottleneck attribution."""

import math

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, NotNegative, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import laid_out
from xattr_methods.information._bottleneck import Bottleneck, bits_of_layer, probabilistic, surprise
from xattr_methods.information._place import Place, find_place, find_resolutions

LAYERS = 3
# The authors' threshold of a map of norm one, for images of 224 × 224 pixels.
SIDE, THRESHOLD = 224, 0.006


def intersection(maps: list[Tensor]) -> Tensor:
    """The first of maps (N, *map_shape), where none of the others is below the threshold.

    That is 1.34 times what a map of norm one has if it is the same everywhere.
    """
    found = maps[0]
    threshold = THRESHOLD * SIDE / math.sqrt(found.shape[1:].numel())
    for one in maps[1:]:
        flat = one.flatten(1)
        norm = flat.norm(dim=1, keepdim=True)
        kept = (flat / norm.where(norm > 0, norm.new_ones(()))) >= threshold
        found = found * kept.reshape(found.shape)
    return found


@method(unit="bits", keeps_rows=True)
def multilayer_iba(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layers: str | None = None,
    beta: Positive = 10.0,
    rate: Positive = 1.0,
    steps: Count = 10,
    copies: Count = 10,
    smoothing: NotNegative = 1.0,
    data: Tensor | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Bits that have to pass the first of several layers, where all agree, (N, 1, H, W). [khakzar2021b]

    The map of iba at the first layer, which is fine, where the maps at all later ones, which are sure, are
    above a threshold: 0.006 of a map of norm one and 224 × 224 pixels, and in proportion to others. Where
    later maps have no place above it in common, nothing is left: the map is 0 everywhere, as that of 4 of 32
    signals of the subject `beats`. With a smaller `beta` more passes, and fewer maps are.

    layers: names of modules with commas between them, the first to the last; by default the last activation
        of each number of cells, of the three smallest: the ends of the last blocks. Where there is one
        alone, the map is that of iba.

    Other parameters and errors are those of iba.
    """
    axes, meant = laid_out("multilayer_iba", inputs, layout), probabilistic("multilayer_iba", explained)
    bottleneck = Bottleneck("multilayer_iba", beta, rate, steps, copies, smoothing)
    if layers is not None and (not isinstance(layers, str) or layers.startswith("[")):
        raise ValueError(
            f"multilayer_iba: expected layers='first,second', names with commas, came {layers!r}"
        )
    if layers is None:
        places = find_resolutions("multilayer_iba", model, inputs, axes, LAYERS)
    else:
        names = [name.strip() for name in layers.split(",")]
        places = [find_place("multilayer_iba", model, inputs, axes, name) for name in names]

    def at(place: Place) -> Tensor:
        return bits_of_layer(
            bottleneck, model, inputs, targets, place, lambda _: surprise(meant),
            data=data, subject=subject, seed=seed, memory=memory,
        )  # fmt: skip

    return intersection([at(place) for place in places])
