"""Mean and deviation of what a layer returns, over other inputs of the model."""

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core.context import Contextual, chosen, rows
from xattr_check.core.identity import Identity
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import chunk_size, lay_out
from xattr_check.storage.digest import TensorStamp
from xattr_check.storage.store import Tensors, made_once
from xattr_methods.information._place import Place

# As [schulz2020]: so many inputs are enough, and a channel that never fires has this deviation all the same.
INPUTS, FLOOR = 1000, 0.01
# Of fewer, a deviation is off by a quarter and more.
LEAST = 10


@dataclass(frozen=True)
class Statistics:
    """What is known of a layer without a look at the input that is explained.

    mean, deviation: (*shape), of each number that the layer returns; deviations of at least 0.01.
    outputs: (2, K), mean and deviation of the model's outputs.
    """

    mean: Tensor
    deviation: Tensor
    outputs: Tensor


def expect_alike(name: str, inputs: Tensor, data: Tensor | None) -> None:
    """Raise ValueError in the name of a method for data (B, *F) that are not as the inputs (N, *F) are."""
    if data is None:
        return
    if not isinstance(data, Tensor):
        raise ValueError(
            f"{name}: expected data that is a tensor, as the inputs are, came a {type(data).__name__}"
        )
    wanted, came = ((tuple(one.shape[1:]), one.dtype, one.device) for one in (inputs, data))
    if wanted != came:
        raise ValueError(
            f"{name}: expected data of the shape, dtype and device of the inputs, each {_words(*wanted)}, "
            f"came {_words(*came)}"
        )


def _words(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> str:
    return f"{shape} {str(dtype).removeprefix('torch.')} on {device}"


_known: "weakref.WeakKeyDictionary[nn.Module, _Known]" = weakref.WeakKeyDictionary()


class _Known:
    """Statistics of one model, while it stays what it is."""

    def __init__(self) -> None:
        self.identity = Identity()
        self.kept: dict[tuple[str, str | None, int], tuple[TensorStamp, Tensors]] = {}

    def fetch(self, model: nn.Module, place: Place, data: Tensor, compute: Callable[[], Tensors]) -> Tensors:
        """What compute returns, once for the model as it is, the place and the data as they are."""
        key = (self.identity.digest(model), place.layer, place.number)
        stamp, found = TensorStamp(data), self.kept.get(key)
        if found is None or found[0] != stamp:
            # Of what the model was before, nothing is asked any more.
            self.kept = {known: one for known, one in self.kept.items() if known[0] == key[0]}
            found = self.kept[key] = stamp, compute()
        return found[1]


def statistics_of(
    name: str, place: Place, model: nn.Module, data: Tensor | None, subject: Subject | None, memory: int
) -> Statistics:
    """Those of a place of a model, over inputs `data` (B, *F) or the subject's own, and no more than 1000.

    They are computed once while the model is what it is; of a subject's own model and inputs they are kept
    in the store. Raises ValueError in the name of a method where there are too few inputs, Declined where
    they are the subject's, ValueError where what the layer returns is not finite, and Declined where it
    never differs.
    """
    known = subject.inputs if data is None and subject is not None else data
    if data is None and subject is not None and len(subject.inputs) < LEAST:
        # Which no user of a subject can mend by a parameter.
        raise Declined(
            f"{name}: needs at least {LEAST} inputs for the mean and the deviation of the layer, "
            f"this subject has {len(subject.inputs)}"
        )
    if known is None or len(known) < LEAST:
        raise ValueError(
            f"{name}: expected {LEAST} inputs or more for the mean and the deviation of the layer, "
            f"came {0 if known is None else len(known)}; pass data=INPUTS, {INPUTS} for example"
        )
    inputs, index = other_inputs(model, data, subject)

    def compute() -> Tensors:
        with rows(index) if isinstance(model, Contextual) else nullcontext():
            return _measured(place, model, inputs, memory)

    def kept() -> Tensors:
        if data is not None or subject is None or model is not subject.model:
            return compute()
        key = {
            "subject": subject.fingerprint,
            "layer": place.layer or "",
            "number": place.number,
            "shape": list(place.shape),
        }
        return made_once("layer_statistics", {**key, "device": inputs.device.type}, compute)

    found = _known.setdefault(model, _Known()).fetch(model, place, known, kept)
    layer = "its last layer" if place.layer is None else f"layer={place.layer!r}"
    instead = "name another with layer=NAME, or pass other data=INPUTS"
    if not all(bool(torch.isfinite(found[one]).all()) for one in ("mean", "deviation")):
        raise ValueError(
            f"{name}: {layer}: expected a finite mean and deviation, came NaN or infinite ones; {instead}"
        )
    if not bool(found["deviation"].max() > 0):
        raise Declined(
            f"{name}: {layer}: expected outputs that differ between inputs, came ones without variance; "
            f"{instead}"
        )
    return Statistics(
        found["mean"].to(inputs), found["deviation"].clamp_min(FLOOR).to(inputs), found["outputs"].to(inputs)
    )


def other_inputs(model: nn.Module, data: Tensor | None, subject: Subject | None) -> tuple[Tensor, Tensor]:
    """At most 1000 inputs (B, *F) of data, or of the subject, and which of the model's rows (B,) they are."""
    known = subject.inputs if data is None and subject is not None else data
    assert known is not None
    # Evenly, because inputs may lie in the order of their classes.
    count = min(INPUTS, len(known))
    index = torch.arange(count) * len(known) // count
    inputs = known[index.to(known.device)]
    if data is None and subject is not None:
        inputs = subject.own_inputs(model, inputs, index)
    elif isinstance(model, Contextual):
        found = model.xattr_context.locate(inputs)
        index = index if found is None else found
    return inputs, index


@torch.no_grad()
def _measured(place: Place, model: nn.Module, inputs: Tensor, memory: int) -> Tensors:
    """Mean and deviation (*shape) of a place over inputs (B, *F), and of the outputs (2, K), in float64."""
    seen = _Moments(), _Moments()

    def measure(some: slice) -> tuple[Tensor, Tensor]:
        with chosen(some):
            return place.seen(model, lay_out(model, inputs[some]))

    with chosen(slice(1)):
        size = chunk_size(model, inputs, memory)
    for _, found in Chunks(size).over(measure, len(inputs)):
        for moments, values in zip(seen, found, strict=True):
            moments.add(values.double())
    (mean, deviation), outputs = (moments.result() for moments in seen)
    return {"mean": mean, "deviation": deviation, "outputs": torch.stack(outputs)}


class _Moments:
    """Mean and deviation of rows that come in parts, without the loss of digits of a sum of squares."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take in (m, …) values."""
        mean, count = values.mean(0), len(values)
        away, total = mean - self.mean.to(mean), self.count + count
        self.squares = (
            self.squares.to(mean) + ((values - mean) ** 2).sum(0) + away**2 * self.count * count / total
        )
        self.mean = self.mean.to(mean) + away * count / total
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (…) of all."""
        return self.mean, (self.squares / (self.count - 1)).sqrt()
