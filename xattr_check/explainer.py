"""A method at work on a subject: guarded, timed, seeded, and asked only once for the same maps."""

import signal
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xattr_check.axiom import Undefined
from xattr_check.digest import derive_seed, digest
from xattr_check.errors import MethodError, UnknownInput
from xattr_check.method import Method
from xattr_check.state import ModelState, preserved_generators
from xattr_check.subject import Subject
from xattr_check.units import Units

if TYPE_CHECKING:
    from xattr_check.run import Run


class TimedOut(BaseException):
    """Raised inside a method that takes too long; not an Exception, so that no method swallows it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut after so many seconds, where signals allow it: on POSIX, in the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def alarm(number: int, frame: Any) -> None:
        raise TimedOut

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _shape(shape: Iterable[int], count: int) -> str:
    """A shape with N for the number of inputs, so that a fault reads alike for every batch."""
    sizes = [str(size) for size in shape]
    if sizes and sizes[0] == str(count):
        sizes[0] = "N"
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def is_dense(maps: Any) -> bool:
    """Whether maps are a tensor with all its numbers in place."""
    return isinstance(maps, Tensor) and maps.layout == torch.strided


def describe(maps: Any, count: int) -> str:
    """What a method returned for so many inputs, in a few words, and what to do about it."""
    if isinstance(maps, Tensor):
        if maps.layout != torch.strided:
            return f"a tensor of layout {maps.layout}; return .to_dense() of it"
        return _shape(maps.shape, count)
    if isinstance(maps, tuple | list):
        return f"a {type(maps).__name__} of {len(maps)}; return the map alone"
    if hasattr(maps, "shape"):
        return f"{type(maps).__name__} {_shape(maps.shape, count)}; return torch.as_tensor() of it"
    return f"{type(maps).__name__} {' '.join(repr(maps).split()):.40}"


def shape_fault(maps: Any, inputs: Tensor) -> str:
    """Why maps are not a dense tensor of a shape that fits inputs, or an empty string."""
    wanted = [tuple(inputs.shape)]
    if inputs.ndim > 2:
        wanted.append((len(inputs), 1, *inputs.shape[2:]) if inputs.ndim == 4 else (*inputs.shape[:2], 1))
    if is_dense(maps) and tuple(maps.shape) in wanted:
        return ""
    shapes = " or ".join(_shape(shape, len(inputs)) for shape in wanted)
    return f"expected a tensor {shapes}, came {describe(maps, len(inputs))}"


def type_fault(maps: Tensor, inputs: Tensor) -> str:
    """Why maps are not floating-point numbers on the device of inputs, or an empty string."""
    if not maps.is_floating_point():
        return f"expected floating-point attributions, came {maps.dtype}; quantised maps lose their sign"
    if maps.device != inputs.device:
        return f"expected attributions on {inputs.device}, where the inputs are, came {maps.device}"
    return ""


def finite_fault(maps: Tensor) -> str:
    """Which rows of maps are not finite, or an empty string."""
    bad = (~torch.isfinite(maps)).reshape(len(maps), -1).any(1).nonzero().flatten().tolist()
    if not bad:
        return ""
    kind = "NaN" if bool(torch.isnan(maps).any()) else "infinite values"
    return f"{kind} in the maps of {len(bad)} of {len(maps)} inputs (first: number {bad[0]} of the batch)"


class MapCache:
    """Maps and errors by key, the least recently used dropped where they take more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, Tensor | MethodError] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Tensor | MethodError | None:
        """What was put under the key, if it is still there."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: str, value: Tensor | MethodError) -> None:
        """Keep a value, and drop what was not asked for the longest."""
        self._kept[key] = value
        self._bytes += _size(value)
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(value: Tensor | MethodError) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


class Explainer:
    """Calls a method as a careful user would, whatever it does.

    It is given clones, seeded generators and a time limit; afterwards the model and the generators are put
    back as they were. Every batch of maps is computed once in a run, and kept on its device while there is
    room.
    """

    def __init__(self, method: Method, subject: Subject, run: "Run") -> None:
        self.method = method.bind(subject)
        self.subject = subject
        self.run = run
        self._hung: MethodError | None = None

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
        """Usable maps of inputs (N, *F): (N, *F) or (N, 1, *spatial), finite, detached.

        seed: varies the global generators; only a stochastic method's maps depend on it.
        Raises MethodError where the method raises, hangs, or returns something else.
        """
        key = digest(id(self), self.run.model_digest(model), inputs, targets, seed)
        found = self.run.maps.get(key)
        if found is None:
            try:
                found = self._compute(model, inputs, targets, seed)
            except MethodError as error:
                found = error
            self.run.maps.put(key, found)
        if isinstance(found, MethodError):
            raise found
        return found

    def scores(self, model: nn.Module, inputs: Tensor, targets: Tensor, units: Units | None = None) -> Tensor:
        """(N, P) float64: how much evidence each unit is; pixels in the order of the subject's `spatial`.

        The sum of the map over the unit; of its magnitude, where the method is a sensitivity.
        """
        maps = self(model, inputs, targets)
        return (units or Units.of(self.subject, "pixels")).sums(
            maps.abs() if self.method.sensitivity else maps
        )

    def _compute(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        parts = []
        for rows in torch.arange(len(inputs)).split(self.run.batch):
            start, stop = int(rows[0]), int(rows[-1]) + 1
            chunk, chosen = inputs[start:stop], targets[start:stop]
            if len(inputs) > self.run.batch:
                self.run.progress(f"{self.name}: maps of inputs {start + 1} to {stop} of {len(inputs)}")
            maps = self.raw(model, chunk, chosen, seed)
            for fault in (shape_fault, type_fault):
                if reason := fault(maps, chunk):
                    raise MethodError(reason)
            if reason := finite_fault(maps):
                raise MethodError(reason)
            parts.append(maps.detach())
        return torch.cat(parts)

    def raw(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Any:
        """What the method returns for one batch, unseen and uncached, with the model put back afterwards.

        seed: varies the global generators; they are seeded from it and the inputs of the batch.
        """
        state = ModelState(model)
        try:
            return self.unguarded(model, inputs.clone(), targets.clone(), seed)
        finally:
            state.restore()

    def unguarded(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Any:
        """As `raw`, on the very tensors given and with the model left as the method leaves it.

        Raises Undefined where a method that is given the truth is asked about inputs of which there is none.
        """
        if self._hung is not None:
            raise self._hung
        try:
            return self._call(model, inputs, targets, seed)
        except TimedOut:
            self._hung = MethodError(
                f"took longer than {self.run.timeout:g} s on {len(inputs)} inputs; "
                "raise the limit with --xattr-timeout=SECONDS"
            )
            raise self._hung from None
        except UnknownInput as error:
            raise Undefined(f"the method knows the truth of other inputs: {error}") from None
        except (Exception, SystemExit) as error:
            raise MethodError(self._story(error, model, inputs, targets, seed)) from error

    def _call(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Any:
        stream = derive_seed(self.run.seed, seed, digest(inputs))
        with preserved_generators(stream), time_limit(self.run.timeout), torch.enable_grad():
            return self.method(model, inputs, targets)

    def _story(
        self, error: BaseException, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int
    ) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        # Where the method, or the model that it calls, went wrong, and not where torch found out.
        last = [frame for frame in frames if "/torch/" not in frame.filename][-1]
        # Without what would change the terminal that it is shown on.
        text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(error).split()))
        what = (
            f"raised {type(error).__name__}: {text:.160} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"
        )
        failing = [row for row in range(len(inputs)) if self._fails_alone(model, inputs, targets, seed, row)]
        if not failing:
            return f"{what}, on a batch of {len(inputs)} inputs but on none of them alone"
        if len(failing) < len(inputs):
            return (
                f"{what}, on {len(failing)} of {len(inputs)} inputs (first: number {failing[0]} of the batch)"
            )
        return what

    def _fails_alone(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int, row: int) -> bool:
        state = ModelState(model)
        try:
            self._call(model, inputs[row : row + 1].clone(), targets[row : row + 1].clone(), seed)
        except (Exception, SystemExit, TimedOut):
            return True
        finally:
            state.restore()
        return False
