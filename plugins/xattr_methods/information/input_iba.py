"""Information bottleneck attribution of the inputs themselves."""

import math

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.layouts import Beside, Layout
from xattr_check.core.method import method
from xattr_check.core.outputs import Output
from xattr_check.core.ranges import Count, Positive, Whole
from xattr_check.core.subject import Subject
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import MEMORY, chunk_size, in_chunks, lay_out
from xattr_methods._arguments import expect_above, expect_at_least, laid_out
from xattr_methods.information._adversary import Layer, fitted_mask
from xattr_methods.information._bottleneck import Bottleneck, Noise, Rest, probabilistic, surprise
from xattr_methods.information._divergence import conditional_divergence
from xattr_methods.information._place import find_place
from xattr_methods.information._statistics import FLOOR, expect_alike, other_inputs, statistics_of

# The authors' settings for images and for texts.
SETTINGS = {True: (20.0, 1.0, 60, 10.0), False: (30.0, 0.5, 30, 15.0)}


@method(unit="bits", keeps_rows=True)
def input_iba(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    call: int = -1,
    beta: Positive | None = None,
    rate: Positive | None = None,
    steps: Count | None = None,
    copies: Count = 10,
    feature_beta: Positive | None = None,
    feature_steps: Count = 10,
    epochs: Whole = 20,
    data: Tensor | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
    explained: Output | str | None = None,
    subject: Subject | None = None,
) -> Tensor:
    """Bits of each feature that have to pass the inputs so that the target stays, (N, 1, H, W). [zhang2021]

    Three bottlenecks, one after another. The first, in a layer, is that of iba, without smoothing. The second
    is of the inputs, and brings about the first in the layer: critics of each input fit it for so many
    `epochs`. The third is of the inputs again, and its divergence is that from what has passed the second:
    what does not reach the layer costs nothing more to remove. It is as fine as the inputs are.

    layer, call: of the first, as for iba. data: as for iba; they tell the mean and the deviation of the
        inputs as well, of each channel, column or number of an embedding.
    beta, rate, steps: of the third; 20, 1 and 60 by default, and 30, 0.5 and 30 for tokens. feature_beta,
        feature_steps: of the first, 10 and 10, and 15 for tokens. copies: noise is drawn so often in each
        step. The second has the constants of the authors; what it is fitted to is drawn anew in each step,
        in place of 200 draws that are kept.

    Other parameters and errors are those of iba.
    """
    axes, meant = laid_out("input_iba", inputs, layout), probabilistic("input_iba", explained)
    expect_at_least("input_iba", 0, epochs=epochs)
    place = find_place("input_iba", model, inputs, axes, layer, call)
    given = (beta, rate, steps, feature_beta)
    usual = SETTINGS[isinstance(axes, Beside)]
    own = [one if value is None else value for value, one in zip(given, usual, strict=True)]
    expect_above("input_iba", 0, feature_beta=own[3])
    of_features = Bottleneck("input_iba", own[3], 1.0, feature_steps, copies)
    of_inputs = Bottleneck("input_iba", own[0], own[1], int(own[2]), copies)
    expect_alike("input_iba", inputs, data)
    statistics = statistics_of("input_iba", place, model, data, subject, memory)
    if not len(inputs):
        return inputs.new_zeros(0, *axes.map_shape)
    others, _ = other_inputs(model, data, subject)
    mean, deviation = axes.mean(others)[0], axes.deviation(others)[0]
    # A column that is always the same has the least of any deviation.
    deviation = deviation.clamp_min(FLOOR * float(deviation.max()))
    loss, chunks = surprise(meant), Chunks(chunk_size(model, inputs, memory))

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        noise = Noise(inputs, seed)
        drawn = statistics.mean + statistics.deviation * noise.draw(1, place.shape, statistics.mean)[:, 0]
        rest = Rest(place, model, inputs, drawn)
        passed, bits = of_features.of_layer(rest, targets, statistics, loss, noise, chunks)
        wanted = Layer(place, rest.values, passed.detach(), statistics.mean, statistics.deviation)
        capacity = place.on_features("input_iba", model, inputs, bits.detach()).clamp_min(0)
        most = capacity.flatten(1).amax(1).reshape(-1, *[1] * (inputs.ndim - 1))
        start = (capacity / most.where(most > 0, torch.ones_like(most))).expand_as(inputs)
        prior = fitted_mask(wanted, model, inputs, start, mean, deviation, epochs, noise, chunks)
        scores = (inputs - mean) / deviation

        def passing(logits: Tensor) -> tuple[Tensor, Tensor]:
            return logits.sigmoid(), conditional_divergence(logits, prior, scores)

        def of_mixed(mixed: Tensor, rows: Tensor) -> Tensor:
            placed = rows.to(targets.device)
            with chosen(rows):
                outputs = model(lay_out(model, mixed))
            return loss(outputs, targets[placed], rest.outputs[placed])

        logits = of_inputs.optimised(inputs, mean, deviation, passing, of_mixed, noise, chunks)
        found = passing(logits)[1] / math.log(2)
        return axes.maps(axes.scores(found)).to(inputs)

    # One input at a time: batches of two sizes are rounded differently, and critics make per cents of that.
    return in_chunks(explain, model, inputs.detach(), targets, 1)
