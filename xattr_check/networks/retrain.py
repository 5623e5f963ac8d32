"""Networks trained from scratch, many at once, each on its own version of the same pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from xattr_check.core.layouts import Beside, Layout, fastest_format, layout_of
from xattr_check.core.outputs import output_of
from xattr_check.core.recipe import Recipe
from xattr_check.core.returned import read_like
from xattr_check.core.run import Run
from xattr_check.core.state import preserved_generators
from xattr_check.core.subject import Subject
from xattr_check.errors import Invalid, SubjectError, Undefined
from xattr_check.storage.digest import derive_seed, digest, digest_rows

# What each of R networks sees of some rows (B,) of the inputs: (R, B, *F).
Versions = Callable[[Tensor], Tensor]
# Inputs that are classified at once.
CHUNK = 256


@dataclass(frozen=True, eq=False)
class Retrainable(Subject):
    """A subject with the pool that networks are trained on.

    pool: a subject with the same model and the recipe's inputs (M, *F), targets and truth.
    training: the recipe.
    """

    pool: Subject = field(kw_only=True)
    training: Recipe = field(kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the subject, of the pool and of how networks are trained."""
        return digest(super().fingerprint, self.pool.fingerprint, self.training.fingerprint)


def retrainable(subject: Subject, run: Run) -> Retrainable:
    """The subject beside the pool that its recipe trains networks on."""
    recipe = subject.recipe
    if recipe is None:
        raise Undefined(f"needs recipe, which subject {subject.name!r} does not offer")
    run.progress("making the pool to train networks on")
    try:
        recipe.untrained(0)
        made = dict(recipe.pool())
        pool = Subject(
            name=f"{subject.name}, pool",
            model=subject.model,
            inputs=made.pop("inputs").to(run.device),
            targets=made.pop("targets").to(run.device),
            reference=subject.reference,
            regions=subject.regions,
            truth={name: rows.to(run.device) for name, rows in made.items()},
            layout=subject.layout,
            output=subject.output,
        )
    except KeyError as error:
        raise Invalid(f"the recipe's pool: expected 'inputs' and 'targets', {error} is missing") from None
    except SubjectError as error:
        raise Invalid(str(error)) from None
    if shared := len(set(digest_rows(pool.inputs)) & set(digest_rows(subject.inputs))):
        raise Invalid(f"{shared} of the inputs that judge are in the recipe's pool, which may hold none")
    own = {one.name: getattr(subject, one.name) for one in fields(Subject) if one.init}
    return Retrainable(**own, pool=pool, training=recipe)


class Networks:
    """R networks of a recipe, trained side by side on the device of the pool.

    subject: their inputs are laid out as its own, and their outputs read and meant; None for classes.
    seeds: (R,) what each begins with; equal seeds are equal networks.
    On a GPU they are one computation over stacked parameters and buffers; on a CPU, where that is slower,
    they take turns within each step. Each has statistics of its own where it has BatchNorm.
    """

    def __init__(
        self, recipe: Recipe, seeds: Sequence[int], device: torch.device, subject: Subject | None = None
    ) -> None:
        self.recipe = recipe
        self.layout = None if subject is None else subject.layout
        self.output = output_of(None if subject is None else subject.output)
        networks = [recipe.untrained(seed).to(device) for seed in seeds]
        if subject is not None:
            networks = [read_like(network, subject.model) for network in networks]
        self.skeleton = networks[0]
        self.parameters, self.buffers = stack_module_state(networks)
        self.device = device

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (R, B, K) of inputs (R, B, *F), a row of them for each network."""
        if self.device.type != "cpu":
            return vmap(self._logits, randomness="different")(self.parameters, self.buffers, inputs)
        taken = {name: stacked.unbind(0) for name, stacked in self.parameters.items()}
        return torch.stack(
            [
                self._logits(
                    {name: rows[r] for name, rows in taken.items()},
                    {name: stacked[r] for name, stacked in self.buffers.items()},
                    _lay_out(own),
                )
                for r, own in enumerate(inputs)
            ]
        )

    def _logits(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Logits (B, K) of one network, whose buffers move while it is trained."""
        logits: Tensor = functional_call(self.skeleton, (parameters, buffers), (inputs,))
        return logits

    def train(self, versions: Versions, targets: Tensor, order: int) -> None:
        """Train all of them on their versions of a pool with targets (M,)."""
        recipe, generator = self.recipe, torch.Generator().manual_seed(order)
        steps = recipe.epochs * -(-len(targets) // recipe.batch)
        descent = recipe.optimize(list(self.parameters.values()), steps)
        self.skeleton.train()
        with preserved_generators(derive_seed("dropout", order)):
            for _ in range(recipe.epochs):
                for rows in _batches(torch.randperm(len(targets), generator=generator), recipe.batch):
                    seen = _rolled(versions(rows.to(self.device)), self.layout, recipe.shift, generator)
                    wanted = targets[rows.to(self.device)].expand(len(seen), -1)
                    # The sum over networks: none of them is in another one's gradient.
                    loss = self.output.loss(self(seen).flatten(0, 1), wanted.flatten())
                    descent.step(loss / len(rows))
        self.skeleton.eval()

    @torch.no_grad()
    def correct(self, versions: Versions, targets: Tensor) -> Tensor:
        """(R, N) bool: whether each network names the targets (N,) of its versions of inputs."""
        parts = torch.arange(len(targets), device=self.device).split(CHUNK)
        return torch.cat([self._correct(self(versions(rows)), targets[rows]) for rows in parts], dim=1)

    def _correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(R, n) bool of outputs (R, n, K)."""
        wanted = targets.expand(len(outputs), -1)
        return self.output.correct(outputs.flatten(0, 1), wanted.flatten()).reshape(wanted.shape)


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """An order (M,) in batches; one that is left over goes with those before it, since it has no variance."""
    parts = list(order.split(size))
    if len(parts) > 1 and size > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _rolled(seen: Tensor, layout: Layout | None, shift: int, generator: torch.Generator) -> Tensor:
    """Inputs (R, B, *F) rolled by up to shift features on each side, all of them alike."""
    if not shift:
        return seen
    layout = layout_of(seen[0], layout)
    if not isinstance(layout, Beside):
        return seen
    by = torch.randint(-shift, shift + 1, (len(layout.ranked),), generator=generator).tolist()
    return seen.roll(by, layout.ranked)


def _lay_out(inputs: Tensor) -> Tensor:
    """Inputs (B, *F) in the memory format in which a CPU is fastest."""
    return inputs.contiguous(memory_format=fastest_format(inputs))
