"""Information bottleneck attribution."""

from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, NotNegative, Positive
from xattr_check.core.subject import Subject
from xattr_check.perturbation.gradients import MEMORY
from xattr_methods._arguments import laid_out
from xattr_methods.information._bottleneck import Bottleneck, bits_of_layer, probabilistic, surprise
from xattr_methods.information._place import find_place


@method(unit="bits", keeps_rows=True)
def iba(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
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
    """Bits that have to pass a layer so that the target's probability stays, (N, 1, H, W). [schulz2020]

    Noise of the layer's own mean and deviation replaces what is not needed: Z = λR + (1 − λ)ε. The loss is
    the cross entropy of the target plus `beta` times the mean divergence of Z from the noise; the map is that
    divergence, summed over channels, linear between the cells, with the sum of the layer. It is never
    negative: what speaks against the target gets nothing.

    layer: a module's name; by default as for gradcam, and of tokens the last module that returns (N, T, E).
        A layer of tokens of a vision transformer may be named: its patches are the cells. call: which call of
        a module counts that is called several times.
    rate, steps: of Adam. copies: noise is drawn so often in each step, of each input by its own content and
        `seed`. smoothing: deviation in cells of the Gaussian that λ is under.
    data: (B, *F) other inputs, at least 10, of which no more than 1000 are asked for the layer's mean and
        deviation; by default the subject's own. memory: bytes of one chunk.

    The defaults are the authors', for large networks. λ begins at 0.99 and all of it falls at first, so that
    ten steps may end before what is needed is back: on the subject `digits`, 30 show the digit better.

    Raises ValueError for a layer that there is not or that no feature can be found in, for a call of a layer
    that is not named, and where a loss is not finite; Declined for a model without such layers, for a layer
    that is the same for all of data, for values, and for a subject of fewer than 10 inputs.
    """
    axes, meant = laid_out("iba", inputs, layout), probabilistic("iba", explained)
    bottleneck = Bottleneck("iba", beta, rate, steps, copies, smoothing)
    place = find_place("iba", model, inputs, axes, layer, call)
    return bits_of_layer(
        bottleneck, model, inputs, targets, place, lambda _: surprise(meant),
        data=data, subject=subject, seed=seed, memory=memory,
    )  # fmt: skip
