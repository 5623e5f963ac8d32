"""Inverse information bottleneck attribution."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, NotNegative, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import laid_out
from xattr_methods.information._bottleneck import Bottleneck, bits_of_layer, predictability, probabilistic
from xattr_methods.information._place import find_place


@method(unit="bits", keeps_rows=True)
def inverse_iba(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    beta: Positive = 30.0,
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
    """Bits of a layer that have to go so that nothing predicts the target, (N, 1, H, W). [khakzar2021b]

    As iba, but noise takes the place of what λ marks, Z = λε + (1 − λ)R, and the cross entropy is made as
    large as it is by chance: of several regions each of which suffices, all are found, where iba keeps one.
    The published loss, β KL − cross entropy, has no lower bound; chance is where no prediction is left.

    The default of `beta` is the authors', for large networks: on the subject `digits` nothing is worth so
    much, and bits are spread alike; 3 shows the digit.

    Parameters and errors are those of iba.
    """
    axes, meant = laid_out("inverse_iba", inputs, layout), probabilistic("inverse_iba", explained)
    bottleneck = Bottleneck("inverse_iba", beta, rate, steps, copies, smoothing, inverse=True)
    place = find_place("inverse_iba", model, inputs, axes, layer, call)
    return bits_of_layer(
        bottleneck, model, inputs, targets, place, lambda _: predictability(meant),
        data=data, subject=subject, seed=seed, memory=memory,
    )  # fmt: skip
