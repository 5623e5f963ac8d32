"""Information bottlenecks: what has to pass a layer, or the inputs, so that the output stays."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen
from xattr_check.core.outputs import Output, Value, output_of
from xattr_check.core.subject import Subject
from xattr_check.errors import Declined
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.gradients import in_chunks
from xattr_check.perturbation.outputs import probe
from xattr_check.storage.digest import derive_seed, digest_rows
from xattr_methods._arguments import expect_above, expect_at_least
from xattr_methods.information._divergence import divergence, shares
from xattr_methods.information._place import Place
from xattr_methods.information._statistics import Statistics, expect_alike, statistics_of

# Lets 99 % pass: where every bottleneck begins.
START = 5.0
CACHED = 2**17  # numbers that are worked on at once
# What is lessened, (m,), of outputs (m, K) under the bottleneck, targets (m,) and outputs (m, K) without it.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
# What passes and its divergence, (n, *shape) each, of logits (n, *shape).
Passing = Callable[[Tensor], tuple[Tensor, Tensor]]


class Noise:
    """Standard normal numbers, of each input its own: they depend on its content and on nothing else."""

    def __init__(self, inputs: Tensor, seed: int) -> None:
        self.generators = [
            torch.Generator().manual_seed(derive_seed("bottleneck", seed, row)) for row in digest_rows(inputs)
        ]
        self._drawn: dict[tuple[int, ...], Tensor] = {}

    def draw(self, copies: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """(n, copies, *shape), others at every call, which takes the memory of what the last one returned."""
        # In float32 whatever the inputs are: the same noise for all of them, and half the time. Memory that
        # is new at every call would take as long to get as the numbers.
        size = (len(self.generators), copies, *shape)
        if size not in self._drawn:
            self._drawn[size] = torch.empty(size, dtype=torch.float32)
        for own, generator in zip(self._drawn[size], self.generators, strict=True):
            own.normal_(generator=generator)
        return self._drawn[size].to(like)


def blocks_of(values: Tensor) -> Iterator[slice]:
    """Slices of the rows of values (n, …), of as many as stay in the cache of a processor, or of all."""
    each = values[:1].numel()
    size = max(1, CACHED // each) if values.device.type == "cpu" else len(values)
    return (slice(start, start + size) for start in range(0, len(values), size))


class Rest:
    """What a model makes of values (m, *shape) put behind a layer, for inputs (n, *F).

    Where nothing but the layer tells inputs apart, one input goes through what is before it, however many
    values there are behind; otherwise, as around a shortcut, each value has its own. Which it is, is seen by
    trying, with what the layer returns and with noise.

    values: (n, *shape) of the inputs. outputs: (n, K), the model's.
    """

    def __init__(self, place: Place, model: nn.Module, inputs: Tensor, noise: Tensor) -> None:
        self.place, self.model, self.inputs = place, model, inputs
        with torch.no_grad():
            self.values, self.outputs = place.seen(model, inputs)
            self.apart = self._stands_apart(noise)

    def __call__(self, values: Tensor, rows: Tensor) -> Tensor:
        """(m, K): outputs for values (m, *shape) and the rows (m,) of inputs that they belong to."""
        rows = torch.zeros(1, dtype=torch.int64) if self.apart else rows
        with chosen(rows):
            return self.place.outputs(self.model, self.inputs[rows.to(self.inputs.device)], values)

    def _stands_apart(self, noise: Tensor) -> bool:
        """Whether one input will do."""
        self.apart = False
        every = torch.arange(len(self.inputs))
        # With its own values, the outputs are known.
        own = [self.outputs, self(noise, every)]
        self.apart = True
        try:
            found = self(torch.cat([self.values, noise]), every)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError):
            return False
        wanted = torch.cat(own)
        tolerance = torch.finfo(wanted.dtype).eps ** 0.5 * float(wanted.abs().max())
        return found.shape == wanted.shape and bool((found - wanted).abs().max() <= tolerance)


@dataclass(frozen=True)
class Bottleneck:
    """How a bottleneck is optimised: by Adam, each input by itself.

    name: of the method, for errors. beta: weight of the mean divergence against the loss. rate, steps: of
    Adam. copies: noise is drawn so often in each step. smoothing: deviation in cells of the Gaussian that
    what passes is under. inverse: whether noise replaces what passes, and the rest is kept.
    Raises ValueError for parameters that are none.
    """

    name: str
    beta: float
    rate: float
    steps: int
    copies: int
    smoothing: float = 0.0
    inverse: bool = False

    def __post_init__(self) -> None:
        expect_at_least(self.name, 1, steps=self.steps, copies=self.copies)
        expect_above(self.name, 0, beta=self.beta, rate=self.rate)
        if not 0 <= self.smoothing < math.inf:
            raise ValueError(f"{self.name}: expected smoothing of at least 0, came {self.smoothing:g}")

    def optimised(
        self,
        values: Tensor,
        mean: Tensor,
        deviation: Tensor,
        passing: Passing,
        loss: Callable[[Tensor, Tensor], Tensor],
        noise: Noise,
        chunks: Chunks,
    ) -> Tensor:
        """Logits (n, *shape) of what passes of values (n, *shape).

        mean, deviation: broadcastable, of the noise. loss: of values (m, *shape) under the bottleneck and
        their rows (m,), (m,). Raises ValueError where a loss is not finite, and where none depends on values.
        """
        logits = torch.full_like(values, START).requires_grad_()
        rooms: dict[torch.Size, Tensor] = {}
        adam = torch.optim.Adam([logits], self.rate)
        each = self.beta / values[0].numel()
        for step in range(self.steps):
            passed, divergences = passing(logits)
            drawn = noise.draw(self.copies, tuple(values.shape[1:]), values)
            share, slopes = passed.detach(), torch.zeros_like(values)

            def slope(rows: slice, copies: slice, share: Tensor = share, drawn: Tensor = drawn) -> Tensor:
                part, some = share[rows], drawn[rows, copies]
                kept, noisy = (1 - part, part) if self.inverse else (part, 1 - part)
                # What all copies share is computed once, on the way there and on the way back.
                away = values[rows] - mean
                shared, spread = (mean + kept * away)[:, None], (noisy * deviation)[:, None]
                if some.shape not in rooms:
                    rooms[some.shape] = torch.empty_like(some)
                mixed = rooms[some.shape].detach()
                for block in blocks_of(some):
                    torch.addcmul(shared[block], spread[block], some[block], out=mixed[block])
                mixed.requires_grad_()
                index = torch.arange(rows.start, rows.stop).repeat_interleave(some.shape[1])
                total = loss(mixed.flatten(0, 1), index).sum() / self.copies
                (found,) = torch.autograd.grad(total, mixed, allow_unused=True)
                if found is None:
                    raise ValueError(
                        f"{self.name}: expected a layer that the output depends on, came one that it does "
                        "not; name another with layer=NAME"
                    )
                of_kept = torch.empty_like(away)
                for block in blocks_of(some):
                    both = found[block].sum(1), (found[block] * some[block]).sum(1)
                    of_kept[block] = away[block] * both[0] - deviation * both[1]
                return -of_kept if self.inverse else of_kept

            for rows, _, found in chunks.over_pairs(slope, len(values), self.copies):
                slopes[rows] += found
            weights = torch.full_like(divergences, each)
            (logits.grad,) = torch.autograd.grad((passed, divergences), logits, (slopes, weights))
            # A sum is finite only where all are, and takes a tenth of the time.
            total = logits.grad.sum()
            if not bool(torch.isfinite(total)) and bool((bad := _not_finite(logits.grad)).any()):
                raise ValueError(
                    f"{self.name}: expected a finite loss under noise, came NaN or an infinite one in step "
                    f"{step + 1} of {self.steps} for {int(bad.sum())} of {len(bad)} inputs; name another "
                    "layer with layer=NAME, whose noise the model can take"
                )
            adam.step()
        return logits.detach()

    def of_layer(
        self, rest: Rest, targets: Tensor, statistics: Statistics, loss: Loss, noise: Noise, chunks: Chunks
    ) -> tuple[Tensor, Tensor]:
        """What passes a layer, (n, *shape) in 0…1, and how much information that is, in bits."""
        # As the noise lies in memory, whatever is the fastest for what is behind the layer.
        values = rest.values.detach().contiguous()
        mean, deviation = statistics.mean, statistics.deviation
        scores = (values - mean) / deviation
        sigma = self.smoothing if rest.place.cells else 0.0

        def passing(logits: Tensor) -> tuple[Tensor, Tensor]:
            passed, log_rest = shares(logits, sigma)
            return passed, divergence(passed, log_rest, scores)

        def of_mixed(mixed: Tensor, rows: Tensor) -> Tensor:
            own = rows.to(targets.device)
            return loss(rest(mixed, rows), targets[own], rest.outputs[own])

        logits = self.optimised(values, mean, deviation, passing, of_mixed, noise, chunks)
        passed, divergences = passing(logits)
        return passed, divergences / math.log(2)


def _not_finite(values: Tensor) -> Tensor:
    """(n,): rows of values (n, …) that are not finite."""
    return ~torch.isfinite(values).flatten(1).all(1)


def bits_of_layer(
    bottleneck: Bottleneck,
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    place: Place,
    loss_of: Callable[[Statistics], Loss],
    *,
    data: Tensor | None,
    subject: Subject | None,
    seed: int,
    memory: int,
) -> Tensor:
    """Maps (N, *map_shape) of the bits that pass a layer. Raises ValueError as `statistics_of` and others."""
    expect_alike(bottleneck.name, inputs, data)
    statistics = statistics_of(bottleneck.name, place, model, data, subject, memory)
    if not len(inputs):
        return inputs.new_zeros(0, *place.axes.map_shape)
    loss = loss_of(statistics)
    # Behind a layer there is less to compute, so that only memory limits how many go at once.
    chunks = Chunks(max(1, memory // (2 * probe(model, inputs).bytes)))

    def explain(inputs: Tensor, targets: Tensor) -> Tensor:
        noise = Noise(inputs, seed)
        drawn = statistics.mean + statistics.deviation * noise.draw(1, place.shape, statistics.mean)[:, 0]
        rest = Rest(place, model, inputs, drawn)
        _, bits = bottleneck.of_layer(rest, targets, statistics, loss, noise, chunks)
        return place.on_features(bottleneck.name, model, inputs, bits)

    return in_chunks(explain, model, inputs.detach(), targets, memory)


def probabilistic(name: str, explained: Output | str | None) -> Output:
    """What outputs mean, where they tell a probability. Raises Declined for values."""
    meant = output_of(explained)
    if isinstance(meant, Value):
        raise Declined(
            f"{name}: expected outputs that are classes, labels or a margin, came values; "
            "use xattr:regression_iba"
        )
    return meant


def surprise(meant: Output) -> Loss:
    """Minus the logarithm of the target's probability: cross entropy."""
    return lambda outputs, targets, _: -meant.log_probability(outputs, targets)


def predictability(meant: Output) -> Loss:
    """The logarithm of the target's probability, down to that of chance, where nothing is left to remove."""

    def loss(outputs: Tensor, targets: Tensor, _: Tensor) -> Tensor:
        least = math.log(meant.chance(outputs.shape[1]))
        return meant.log_probability(outputs, targets).clamp_min(least)

    return loss
