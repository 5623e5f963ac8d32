"""Is a model fit to be judged? It is asked once, on copies of a few inputs, before any method is."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.context import IDS, Contextual, chosen, current
from xattr_check.core.layouts import Layout
from xattr_check.core.outputs import Output
from xattr_check.core.state import full_precision
from xattr_check.core.twin import sharing
from xattr_check.errors import SubjectError

# So many inputs tell.
ROWS = 8
# What reads a batch (N, A, B) along its last axis, as a signal is.
ALONG_THE_LAST = (
    nn.Conv1d,
    nn.ConvTranspose1d,
    nn.BatchNorm1d,
    nn.InstanceNorm1d,
    nn.AvgPool1d,
    nn.MaxPool1d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
)
# What reads it, batch first, along the axis before, with the last for the numbers of an embedding.
ALONG_THE_FIRST = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
# The kinds of layout that a module is for, and which modules show that it is the other one.
READERS = {
    "embeddings": (ALONG_THE_LAST, "signal", "along their last axis"),
    "signal": (ALONG_THE_FIRST, "embeddings", "as tokens, each with the numbers of an embedding"),
}
# Modules that run another one, by the names that they have for it.
WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
# Operations after which a value is what it was.
PASSED_ON = (
    *("ToCopy", "View", "UnsafeView", "ReshapeAlias", "Alias", "Clone", "Squeeze", "Unsqueeze"),
    *("Select", "Slice", "Index"),
)


def _square(channels: int) -> Callable[[Tensor], Tensor]:
    """Flat inputs (N, D) as square images of so many channels."""

    def arrange(given: Tensor) -> Tensor:
        side = math.isqrt(given.shape[1] // channels)
        return given.reshape(len(given), channels, side, side)

    return arrange


# Other arrangements of inputs, by what to do where a model takes them.
ARRANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "it runs with one channel before the other axes: pass inputs.unsqueeze(1)": lambda given: given.unsqueeze(
        1
    ),
    "it runs with the last axis for the channels, before the others: pass inputs.movedim(-1, 1)": (
        lambda given: given.movedim(-1, 1)
    ),
    "it runs on all of them as a single one: pass inputs[None], and one target": lambda given: given[None],
    "it runs on all of them as a single one: pass inputs[None].movedim(-1, 1), and one target": (
        lambda given: given[None].movedim(-1, 1)
    ),
    "it runs on flat ones: pass nn.Sequential(nn.Flatten(), model) for the model": (
        lambda given: given.flatten(1)
    ),
    "it runs on square images of one channel: pass inputs.reshape(len(inputs), 1, side, side)": _square(1),
    "it runs on square images of three channels: pass inputs.reshape(len(inputs), 3, side, side)": _square(3),
}
NORMALISED = {"Sigmoid": "a sigmoid", "Softmax": "a softmax", "SafeSoftmax": "a softmax"}


@dataclass(frozen=True)
class Examination:
    """What is known of a model.

    outputs: how many numbers it returns for an input.
    writes: whether it changes the tensor that it is called on.
    undifferentiable: why it has no gradient, an empty string where it has one.
    """

    outputs: int
    writes: bool = False
    undifferentiable: str = ""


@dataclass(frozen=True)
class _Tolerance:
    """What counts as rounding: half of the digits of the coarsest precision that takes part.

    relative: in units of the largest logit.
    """

    relative: float

    @classmethod
    def of(cls, model: nn.Module, *tensors: Tensor) -> "_Tolerance":
        weights = (*model.parameters(), *model.buffers())
        kinds = {one.dtype for one in (*weights, *tensors) if one.is_floating_point()}
        return cls(max(torch.finfo(kind).eps for kind in kinds) ** 0.5)

    def difference(self, one: Tensor, other: Tensor) -> float:
        """The largest difference of logits (n, K), in units of the largest of them; 0 for rounding."""
        largest = float(torch.cat([one, other]).abs().max())
        gap = float((one.double() - other.double()).abs().max())
        return gap / largest if gap > self.relative * largest else 0.0


def watchable(model: nn.Module) -> nn.Module:
    """The model whose modules are watched: without what only says how it is run, compiled or on many devices.

    Raises SubjectError for a model whose modules cannot be watched.
    """
    # By name: they need not be imported.
    inside = next((WRAPPERS[kind.__name__] for kind in type(model).__mro__ if kind.__name__ in WRAPPERS), "")
    if inside:
        return watchable(model.get_submodule(inside))
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        hint = "give the module that it was made of"
        raise _unfit("a model whose modules can be watched", "a scripted or traced one", hint)
    # What Module.compile made.
    return model if model._compiled_call_impl is None else sharing(model, type(model))


def examine(model: nn.Module, inputs: Tensor, layout: Layout, output: type[Output]) -> Examination:
    """Whether a model in eval mode is a function of one input, and which.

    inputs: (N, *F), of which the first few are asked, in ordinary forward passes: what a model makes at its
        first pass, such as weights of lazy modules or a table, must be of use afterwards.
    layout: what a feature of them is said to be. output: what its outputs are said to mean.

    Raises SubjectError for what cannot be judged.
    """
    rows = inputs[:ROWS]
    with full_precision(inputs.device), chosen(slice(ROWS)):
        with chosen(slice(1)):
            first, writes = _first(model, rows[:1])
        outputs = _expect_logits(first)
        tolerance = _Tolerance.of(model, rows, first)
        together = _expect_batches(model, rows)
        if output.spoiled_by:
            _expect_no_shares(together, tolerance)
        _expect_same(model, rows, together, tolerance)
        _expect_alone(model, rows, together, tolerance)
        _expect_layout(model, rows, layout)
        if isinstance(model, Contextual):
            _expect_embedding(model, rows)
            _expect_context(model, rows, together)
        fault = _fault_of_gradient(model, rows, output)
        if fault and output.spoiled_by:
            _expect_no_sigmoid(together, output)
        return Examination(outputs, writes, fault)


def careful(model: nn.Module) -> nn.Module:
    """A copy of a model that is called on copies of its inputs. Raises SubjectError where it has none."""
    try:
        own = copy.deepcopy(model)
    except (RuntimeError, TypeError, copy.Error) as error:
        raise _unfit(
            "a model that leaves its inputs as they are, or one that can be copied",
            f"one that writes to them, and cannot be copied: {error}",
            "write x = x - mean in its forward, not x -= mean",
        ) from error
    own.register_forward_pre_hook(_copy_inputs)
    return own


def _copy_inputs(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one.clone() if isinstance(one, Tensor) else one for one in inputs)


def _unfit(expected: str, came: str, hint: str = "") -> SubjectError:
    return SubjectError(option="subject", expected=expected, came=came, hint=hint)


def call(model: nn.Module, rows: Tensor) -> Any:
    """What a model returns for a copy of some inputs. Raises SubjectError where it raises."""
    return _first(model, rows)[0]


def _first(model: nn.Module, rows: Tensor) -> tuple[Any, bool]:
    """What a model returns for a copy of some inputs, and whether it has written to it."""
    given = rows.clone()
    try:
        with torch.no_grad():
            found = model(given)
    except Exception as error:
        raise SubjectError(
            f"the model cannot run on its inputs {tuple(rows.shape)}: {_line(error)}",
            option="subject",
            hint=_remedy(model, rows),
        ) from error
    return found, not torch.equal(given, rows)


def _remedy(model: nn.Module, rows: Tensor) -> str:
    """What to do about a model that cannot run on some inputs, where that can be told."""
    weights = [one for one in model.parameters() if one.is_floating_point()]
    kinds, places = {one.dtype for one in weights}, {one.device.type for one in weights}
    if len(kinds) == 1 and rows.dtype not in kinds:
        kind = kinds.pop()
        return f"its weights are {kind} and its inputs {rows.dtype}: pass inputs.to({kind})"
    if len(places) == 1 and rows.device.type not in places:
        place = places.pop()
        return f"its weights are on {place} and its inputs on {rows.device.type}: pass inputs.to({place!r})"
    alone = len(rows) > 1 and _runs(model, rows[:1])
    if told := "" if alone or isinstance(model, Contextual) else arranged(model, rows):
        return told
    if isinstance(model, Contextual) and (others := ", ".join(model.xattr_context.tables.keys() - {IDS})):
        return f"it is called with context by name, {others}: they have to be what its forward function takes"
    fixed = any(isinstance(module, torch.fx.GraphModule) for module in model.modules())
    export = "export it with dynamic_shapes=({0: torch.export.Dim('batch')},); " if fixed else ""
    if alone:
        return f"{export}it runs on one alone, and has to take batches of any size"
    if len(rows) == 1 and _runs_on_copies(model, rows):
        return f"{export}it runs on more at once, and has to take one alone"
    return ""


def arranged(model: nn.Module, inputs: Tensor) -> str:
    """How inputs with their axes in another order, or one more or fewer, would do; empty where none is found.

    inputs: (N, *F), or what was taken for that.
    """
    with suppress(Exception), torch.no_grad():
        tried = copy.deepcopy(model).eval()
        for told, arrange in ARRANGED.items():
            with suppress(Exception):
                other = arrange(inputs)
                found = None if other.shape == inputs.shape else tried(other[:1])
                if isinstance(found, Tensor) and found.ndim == 2 and len(found) == 1:
                    return told
    return ""


def _runs_on_copies(model: nn.Module, row: Tensor) -> bool:
    """Whether a model runs on some number of copies of an input (1, *F)."""
    return any(_runs(model, torch.cat([row] * count)) for count in range(2, ROWS + 1))


def _runs(model: nn.Module, rows: Tensor) -> bool:
    with suppress(Exception), torch.no_grad():
        model(rows.clone())
        return True
    return False


def _line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _expect_logits(logits: Any) -> int:
    """How many outputs there are. Raises SubjectError for what is none."""
    expected = "the model to return outputs (1, K) for one input"
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        came = str(tuple(logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__
        raise _unfit(expected, came, "wrap the model in a module that returns them")
    if not logits.is_floating_point():
        raise _unfit(f"{expected}, floats", str(logits.dtype), "wrap the model in a module that returns them")
    return logits.shape[1]


def _expect_batches(model: nn.Module, rows: Tensor) -> Tensor:
    """Outputs (n, K) of a batch. Raises SubjectError for what is none."""
    logits = call(model, rows)
    if not isinstance(logits, Tensor) or len(logits) != len(rows) or logits.ndim != 2:
        came = str(tuple(logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__
        raise _unfit(f"outputs ({len(rows)}, K) for {len(rows)} inputs", came)
    if not bool(torch.isfinite(logits).all()):
        row = int((~torch.isfinite(logits)).any(1).nonzero()[0])
        raise _unfit("finite outputs", f"NaN or infinite ones, first in row {row}")
    return logits


def _expect_no_shares(logits: Tensor, tolerance: _Tolerance) -> None:
    """Raise SubjectError for logits that are probabilities already."""
    sums = logits.double().sum(1)
    for total, told in ((1, "probabilities that sum to one"), (100, "percentages that sum to 100")):
        if bool((logits >= 0).all()) and bool(((sums / total - 1).abs() < tolerance.relative).all()):
            raise _not_logits(f"{told}, as those of a softmax", "a softmax")


def _expect_no_sigmoid(logits: Tensor, output: type[Output]) -> None:
    """Raise SubjectError for logits (n, K) without gradient of which each is between 0 and 1.

    The graph tells of others. Classes exclude one another, and have sums that tell.
    """
    own = logits[:, 1:] if output.name == "margin" else logits  # −z and z
    if output.name in ("margin", "labels") and bool(((own >= 0) & (own <= 1)).all()):
        raise _not_logits("numbers between 0 and 1, as those of a sigmoid", "a sigmoid")


def _not_logits(came: str, made_by: str) -> SubjectError:
    hint = "leave out its last operation"
    return _unfit(
        "the model to return logits, of which probabilities are made here",
        came,
        f"{hint}, or return the logarithm of it" if made_by == "a softmax" else hint,
    )


def _expect_same(model: nn.Module, rows: Tensor, logits: Tensor, tolerance: _Tolerance) -> None:
    """Raise SubjectError for a model that returns something else for the same inputs."""
    if gap := tolerance.difference(logits, call(model, rows)):
        raise _unfit(
            "a model that returns the same for the same inputs",
            f"logits that differ by {gap:.2g} of the largest in a second call",
            _observing(model)
            or _training(model)
            or "in eval mode draw nothing and keep nothing: F.dropout(x, p, training=self.training)",
        )


def _training(model: nn.Module) -> str:
    """Which module is in training mode, in words; empty where none is."""
    names = [name or "model" for name, module in model.named_modules() if module.training]
    return f"{names[0]!r} is in training mode" if names else ""


def _observing(model: nn.Module) -> str:
    """What to do about a module that takes its scale from what it is called on; empty where none does."""
    names = [
        name for name, module in model.named_modules() if bool(getattr(module, "observer_enabled", [0])[0])
    ]
    disable = "model.apply(torch.ao.quantization.disable_observer)"
    return f"{names[0]!r} goes on to observe what it is given: {disable}" if names else ""


def _quantised_by_batch(model: nn.Module) -> str:
    """What to do about a module that has one scale for a whole batch; empty where none has."""
    dynamic = "torch.ao.nn.quantized.dynamic"
    names = [name for name, module in model.named_modules() if type(module).__module__.startswith(dynamic)]
    told = (
        "has one scale for a whole batch: give the model before quantize_dynamic, or quantise it statically"
    )
    return f"{names[0]!r} {told}" if names else ""


def _expect_alone(model: nn.Module, rows: Tensor, logits: Tensor, tolerance: _Tolerance) -> None:
    """Raise SubjectError for a model of which an input's logits depend on the others in its batch."""
    order = torch.arange(len(rows))
    alone = torch.cat([_of(model, rows, one) for one in order.split(1)])
    mixed = _of(model, rows, order.flip(0)).flip(0)
    # One input has no mates: copies of it that are scaled are.
    with chosen(order[:1]):
        amid = call(model, torch.cat([2 * rows[:1], rows[:1], -rows[:1]]))[1:2]
    pairs = ((logits, alone), (logits, mixed), (logits[:1], amid))
    gap = max(tolerance.difference(one, other) for one, other in pairs)
    if gap:
        norms = [
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
        ]
        raise _unfit(
            "a model whose logits for an input do not depend on the others in the batch",
            f"logits that differ by {gap:.2g} of the largest in another batch",
            f"give {norms[0]!r} running statistics"
            if norms
            else _quantised_by_batch(model) or _training(model),
        )


def _of(model: nn.Module, rows: Tensor, order: Tensor) -> Any:
    """What a model returns for some rows, with their other inputs."""
    with chosen(order):
        return call(model, rows[order.to(rows.device)])


def _expect_embedding(model: Contextual, rows: Tensor) -> None:
    """Raise SubjectError for ids whose embeddings are of a module that the model does not call on them."""
    if not (name := model.xattr_context.embedding):
        return
    shapes: list[torch.Size] = []
    handle = model.xattr_embedding.register_forward_hook(lambda _, __, found: shapes.append(found.shape))
    try:
        call(model, rows)
    finally:
        handle.remove()
    if rows.shape not in shapes:
        known = [one for one, module in model.named_modules() if isinstance(module, nn.Embedding)]
        others = ", ".join(repr(one) for one in known if one != name)
        raise _unfit(
            "embedding= the module that the model calls on its ids",
            f"{name!r}, which it does not call on them",
            f"say one of {others}" if others else "call it in the model's forward",
        )


def _expect_context(model: Contextual, rows: Tensor, logits: Tensor) -> None:
    """Raise SubjectError for other inputs that the model does not use: those of other rows change nothing."""
    index = current()
    for name, table in model.xattr_context.tables.items():
        if index is None or name == IDS:
            continue
        own = table[index]
        # For each row the next one that is not the same, where there is one.
        flat = table.reshape(len(table), -1)
        other = own.clone()
        for row in range(len(index)):
            differing = (flat != flat[index[row]]).any(1).nonzero()
            other[row] = table[int(differing[0])] if len(differing) else own[row]
        if torch.equal(other, own):
            continue
        with torch.no_grad():
            changed = model(rows.clone(), **{name: other.to(rows.device)})
        if torch.equal(changed, logits):
            raise _unfit(
                f"a model that uses context {name!r}",
                "the same outputs with those of other rows",
                f"leave {name!r} out of context, or make the model's forward read it",
            )


def _expect_layout(model: nn.Module, rows: Tensor, layout: Layout) -> None:
    """Raise SubjectError where a module of the model reads the inputs as another layout than is said."""
    if layout.name not in READERS:
        return
    kinds, other, how = READERS[layout.name]
    readers: list[str] = []
    with _watching(model, kinds, readers, rows):
        call(model, rows)
    if readers:
        raise _unfit(
            f"a model that reads {layout.told}{layout.axes} for layout={layout.name!r}",
            f"one whose {readers[0]!r} reads its inputs {how}",
            f"say layout={other!r}",
        )


@contextmanager
def _watching(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], readers: list[str], rows: Tensor
) -> Iterator[None]:
    """Note the modules of some kinds, batch first, that are called on inputs (n, A, B) as they are."""

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            first = inputs[0] if inputs else None
            if not isinstance(first, Tensor) or not getattr(module, "batch_first", True):
                return
            # With axes of one size, a batch that was turned has the same shape.
            if first.shape == rows.shape and (rows.shape[1] != rows.shape[2] or torch.equal(first, rows)):
                readers.append(name or type(module).__name__)

        return hook

    modules = [(name, one) for name, one in model.named_modules() if isinstance(one, kinds)]
    handles = [one.register_forward_pre_hook(note(name)) for name, one in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fault_of_gradient(model: nn.Module, rows: Tensor, output: type[Output]) -> str:
    """Why the logits have no gradient, or an empty string. Raises SubjectError for probabilities."""
    cut = "its logits do not depend on its inputs by operations that have one"
    leaves = rows.clone().requires_grad_()
    try:
        with torch.enable_grad():
            logits = model(leaves.clone())
            if not logits.requires_grad:
                return cut
            if (last := _last_operation(logits, (*PASSED_ON, *output.made_by))) in output.spoiled_by:
                raise _not_logits(f"what {NORMALISED[last]} makes of them", NORMALISED[last])
            weights = torch.linspace(1, 2, logits.numel(), dtype=logits.dtype, device=logits.device)
            total = (logits.flatten() * weights).sum()
            (slopes,) = torch.autograd.grad(total, leaves, allow_unused=True)
    except (RuntimeError, NotImplementedError) as error:
        return _line(error)
    if slopes is None:
        return cut
    # Of what is the same for all inputs, zero is right.
    if slopes.any() or bool((logits == logits[:1]).all()):
        return ""
    return "it is zero everywhere, as that of a step"


def _last_operation(logits: Tensor, passed_on: tuple[str, ...]) -> str:
    """The name of the operation that made the logits, before those that leave values as they are."""
    function = logits.grad_fn
    while function is not None:
        name = function.name().rstrip("0123456789").removesuffix("Backward")
        if name not in passed_on:
            return name
        function = function.next_functions[0][0] if function.next_functions else None
    return ""
