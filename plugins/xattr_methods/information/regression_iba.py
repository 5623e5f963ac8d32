"""Information bottleneck attribution of values."""

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import score
from xattr_check.core.ranges import Count, NotNegative, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import laid_out
from xattr_methods.information._bottleneck import Bottleneck, Loss, bits_of_layer
from xattr_methods.information._place import find_place
from xattr_methods.information._statistics import Statistics

LOSSES = ("deviation", "squared_error", "maximisation")


def loss_of_values(loss: str, value: float | None, inverse: bool, statistics: Statistics) -> Loss:
    """One of the three losses of values, in units of the squared deviation of the model's outputs.

    What the inverse of a loss makes larger ends where it is as large as at the mean of the outputs, and not
    before a whole deviation: of a value near the mean there is something to remove as well.
    """

    def found(outputs: Tensor, targets: Tensor, before: Tensor) -> Tensor:
        mean, deviation = statistics.outputs
        unit = deviation[targets].clamp_min(torch.finfo(deviation.dtype).tiny)
        now = score(outputs, targets)
        if loss == "maximisation":
            size: Tensor = (now / unit) ** 2
            return size if inverse else -size
        wanted = score(before, targets) if value is None else torch.full_like(now, value)
        away: Tensor = ((now - wanted) / unit) ** 2
        if not inverse:
            return away
        most = (((wanted - mean[targets]) / unit) ** 2).clamp_min(1)
        return -torch.minimum(away, most)

    return found


@method(unit="bits", needs=("value",), keeps_rows=True)
def regression_iba(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: str = "deviation",
    value: float | None = None,
    inverse: bool = False,
    layer: str | None = None,
    call: int = -1,
    beta: Positive | None = None,
    rate: Positive = 1.0,
    steps: Count = 10,
    copies: Count = 10,
    smoothing: NotNegative = 1.0,
    data: Tensor | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Bits that have to pass a layer so that a value stays, is one that is named, or large. [khakzar2021b]

    As iba, (N, 1, H, W), with another loss in place of the cross entropy, in units of the squared deviation
    of the model's outputs over `data`, so that `beta` means the same whatever the value is measured in.

    loss: `deviation`, (Φ(Z) − Φ(X))²: what suffices for the value that the model gives.
        `squared_error`, (Φ(Z) − y)², with y = `value`: where y is small, what makes the value small.
        `maximisation`, −Φ(Z)²: what makes the value large, in either direction.
    inverse: find what has to go so that the value is lost, as inverse_iba.
    beta: 10 by default, and 30 for the inverse.

    Other parameters and errors are those of iba; ValueError for another loss, and for a `value` missing.
    """
    axes = laid_out("regression_iba", inputs, layout)
    if loss not in LOSSES:
        raise ValueError(f"regression_iba: expected loss= one of {', '.join(LOSSES)}, came {loss!r}")
    if (loss == "squared_error") != (value is not None):
        came = "none" if value is None else f"value={value:g} for loss={loss!r}"
        raise ValueError(
            f"regression_iba: expected value= with loss='squared_error' and no other, came {came}"
        )
    weight = (30.0 if inverse else 10.0) if beta is None else beta
    bottleneck = Bottleneck("regression_iba", weight, rate, steps, copies, smoothing, inverse)
    place = find_place("regression_iba", model, inputs, axes, layer, call)
    return bits_of_layer(
        bottleneck, model, inputs, targets, place,
        lambda statistics: loss_of_values(loss, value, inverse, statistics),
        data=data, subject=subject, seed=seed, memory=memory,
    )  # fmt: skip
