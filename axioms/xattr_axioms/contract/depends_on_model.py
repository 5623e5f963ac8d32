"""Do the maps tell a trained model from a random one?"""

from torch import Tensor, nn

from xattr_axioms.contract._calls import distance, distance_beyond_factor, seeded, slopes, steps
from xattr_check.core import Draw, Explainer, Measurement, Subject, Undefined, contract, violation
from xattr_check.core.context import first_rows
from xattr_check.errors import MethodError
from xattr_check.networks.layers import Layer
from xattr_check.networks.randomize import every_layer, randomized

COPIES = 3


@contract(
    statement="The maps change with the model's weights, and not only by a factor.",
    negative=("random", "edges"),
    cites="adebayo2018",
)
def depends_on_model(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Violated where every input gets the same map from copies of the model with random weights.

    A map that is multiplied by the model's output changes with the model, but shows nothing of it: maps that
    differ by a factor count as the same. Further copies are tried because a rectified map may be zero on one.
    """
    chosen = every_layer(subject.model, draw.inputs)
    own = slopes(subject.model, draw.inputs, draw.targets)
    finding, rounding = "", steps(draw)
    for number in range(COPIES):
        copy = _copy(subject, chosen, draw, number)
        other = slopes(copy, draw.inputs, draw.targets)
        if own is not None and other is not None and _same(own, other, rounding):
            continue
        maps = seeded(method, subject.model, draw.inputs, draw.targets)
        try:
            fresh = seeded(method, copy, draw.inputs, draw.targets)
        except MethodError as error:
            raise MethodError(f"on a copy of the model with random weights: {error}") from error
        if not _same(maps, fresh, rounding):
            return violation("")
        factor = "" if bool((distance(maps, fresh, rounding) <= rounding).all()) else ", but for a factor,"
        finding = (
            "expected other maps from a copy of the model with random weights, "
            f"came the same{factor} for {len(draw.inputs)} inputs"
        )
    if not finding:
        raise Undefined(f"random weights do not change what {subject.name!r} computes, but for a factor")
    return violation(finding)


def _copy(subject: Subject, chosen: list[Layer], draw: Draw, number: int) -> nn.Module:
    seed = draw.generator("copy", number).initial_seed()

    def compute() -> nn.Module:
        inputs = subject.inputs[:256]
        with first_rows(len(inputs)):
            return randomized(subject.model, chosen, inputs, seed)

    found: nn.Module = draw.run.once(f"depends_on_model {subject.fingerprint} {seed}", compute)
    return found


def _same(one: Tensor, other: Tensor, rounding: float) -> bool:
    """Whether maps (R, N, P) are the same for all inputs, but for a factor where they are not flat."""
    flat = all(bool((m.mean(0).std(1) <= rounding * m.mean(0).norm(dim=1)).all()) for m in (one, other))
    if flat:
        return bool((distance(one, other, rounding) <= rounding).all())
    return bool((distance_beyond_factor(one, other, positive=False, floor=rounding) <= rounding).all())
