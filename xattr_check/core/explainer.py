"""A method at work on a subject: guarded, timed, seeded, and asked only once for the same maps."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from xattr_check.core.context import chosen, current, rows
from xattr_check.core.faults import expect_usable
from xattr_check.core.method import Method
from xattr_check.core.pace import PATIENCE, Pace
from xattr_check.core.run import Run, at_work
from xattr_check.core.snapshot import Snapshot
from xattr_check.core.state import preserved_generators
from xattr_check.core.subject import Subject
from xattr_check.core.timeout import TimedOut, TimeLimit, counted_time
from xattr_check.core.units import Units
from xattr_check.errors import Declined, MethodError, Undefined, UnknownInput
from xattr_check.storage.digest import derive_seed, digest

# Signs of an error's message that are told: whole tensors may be printed in one.
LONGEST = 4000
# Names for explainers: an id is given again, and with it the maps of what had it.
_numbers = count()


class Explainer:
    """Calls a method as a careful user would, whatever it does.

    It is given clones, seeded generators and a time limit; afterwards the model, the process and the
    generators are put back as they were. Every batch of maps is computed once in a run, and kept on its
    device while there is room.
    """

    def __init__(self, method: Method, subject: Subject, run: Run) -> None:
        self.method = method.bind(subject)
        self.subject = subject
        self.run = run
        self._number = next(_numbers)
        self._hung: MethodError | None = None
        self._declined: Undefined | None = None

    @classmethod
    def of(cls, method: Method, subject: Subject, run: Run) -> "Explainer":
        """The one explainer of a method on a subject, so that maps are computed once in a run."""
        # The method is kept beside it: its id must not be given to another one while the run lasts.
        _, explainer = run.once(
            f"explainer {id(method)} {subject.fingerprint}", lambda: (method, cls(method, subject, run))
        )
        found: Explainer = explainer
        return found

    def calling(self, function: Callable[..., Any]) -> "Explainer":
        """One that calls a function in the method's place, with the same guards: one that watches the method.

        The method is bound to the subject already, so that the function needs nothing of it.
        """
        watcher = replace(self.method, function=function, needs=frozenset())
        return Explainer(watcher, self.subject, self.run)

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
        """Usable maps of inputs (N, *F): (N, *F) or (N, 1, *spatial), finite, detached.

        seed: varies the global generators; only a stochastic method's maps depend on it.
        Raises MethodError where the method raises, hangs, or returns something else.
        """
        if self.subject.context and current() is None:
            with rows(self.subject.locate(inputs)):
                return self(model, inputs, targets, seed)
        name = self._digest(model, inputs)
        texts = [current()] if self.subject.context else []
        key = digest(self._number, name, inputs, targets, seed, *texts)
        found = self.run.maps.get(key)
        if found is None:
            try:
                found = self._compute(model, inputs, targets, seed)
            except MethodError as error:
                found = error
            # Maps of a model that could not be put back are nobody else's.
            if self._digest(model, inputs) == name:
                self.run.maps.put(key, found)
        if isinstance(found, MethodError):
            raise found
        return found

    def _digest(self, model: nn.Module, inputs: Tensor) -> str:
        with chosen(slice(1)):
            return self.run.model_digest(model, inputs[:1])

    def scores(self, model: nn.Module, inputs: Tensor, targets: Tensor, units: Units | None = None) -> Tensor:
        """(N, P) float64: how much evidence each unit is; pixels in the order of the subject's `spatial`.

        The sum of the map over the unit; of its magnitude, where the method is a sensitivity.
        """
        maps = self(model, inputs, targets)
        return self._units(units).sums(maps.abs() if self.method.sensitivity else maps)

    def signed(self, model: nn.Module, inputs: Tensor, targets: Tensor, units: Units | None = None) -> Tensor:
        """(N, P) float64: as `scores`, but with the signs of the map whatever they mean to the method."""
        return self._units(units).sums(self(model, inputs, targets))

    def _units(self, units: Units | None) -> Units:
        return units or Units.of(self.subject, "pixels")

    def _compute(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> Tensor:
        parts = []
        for start in range(0, len(inputs), self.run.batch):
            stop = min(start + self.run.batch, len(inputs))
            chunk, asked = inputs[start:stop], targets[start:stop]
            if len(inputs) > self.run.batch:
                self.run.progress(f"{self.name}: maps of inputs {start + 1} to {stop} of {len(inputs)}")
            with chosen(slice(start, stop)):
                maps = self.raw(model, chunk, asked, seed)
            parts.append(expect_usable(maps, chunk, self.subject.layout))
        return torch.cat(parts)

    def raw(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int = 0) -> Any:
        """What the method returns for one batch, unseen and uncached, with all put back afterwards.

        seed: varies the global generators; they are seeded from it and the inputs of the batch.
        """
        before = Snapshot(model)
        try:
            return self.unguarded(model, inputs.clone(), targets.clone(), before, seed)
        finally:
            before.restore()

    def unguarded(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, before: Snapshot, seed: int = 0
    ) -> Any:
        """As `raw`, on the very tensors given and with the model left as the method leaves it.

        before: where the method raises, this is put back before it is asked about single inputs.

        Raises Undefined where a method that is given the truth is asked about inputs of which there is none,
        where it declines the model, and where it comes to nothing on a model that has no gradient.
        """
        if self._hung is not None:
            raise self._hung
        if self._declined is not None:
            raise self._declined
        pace = Pace.of(self.method, self.subject, self.run)
        limit = TimeLimit(self.run.timeout, PATIENCE, partial(pace.note, PATIENCE, len(inputs)))
        started = counted_time()
        try:
            maps = self._call(model, inputs, targets, seed, limit)
            pace.note(counted_time() - started, len(inputs))
        except TimedOut as error:
            if error is limit.interruption:
                raise
            self._hung = MethodError(
                f"took longer than {self.run.timeout:g} s on {len(inputs)} inputs; "
                "raise the limit with --xattr-timeout=SECONDS"
            )
            raise self._hung from None
        except UnknownInput as error:
            raise Undefined(f"the method knows the truth of other inputs: {error}") from None
        except Undefined:
            raise
        except Declined as error:
            declined = Undefined(f"the method declines the model: {error}")
            if model is self.subject.model:  # and not a copy, which may be of other operations
                self._declined = declined
            raise declined from None
        except (Exception, SystemExit) as error:
            if error is limit.interruption:
                raise
            before.restore()
            story = self._story(error, model, inputs, targets, seed)
            self._excuse(f"the method {story}")
            raise story from error
        if self.subject.examination.undifferentiable and not maps.any():
            self._excuse("the method returns zeros")
        return maps

    def _excuse(self, what: str) -> None:
        """Raise Undefined for what may be due to a model that has no gradient."""
        if fault := self.subject.examination.undifferentiable:
            raise Undefined(f"the model has no gradient ({fault}), and {what}")

    def _call(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int, limit: TimeLimit) -> Any:
        stream = derive_seed(self.run.seed, seed, digest(inputs))
        with preserved_generators(stream), limit, torch.enable_grad(), at_work(self.run):
            return self.method(model, inputs, targets)

    def _story(
        self, error: BaseException, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int
    ) -> MethodError:
        """What the method raised, where, and on which of the inputs, in words."""
        frames = traceback.extract_tb(error.__traceback__)
        # Where the method, or the model that it calls, went wrong, and not where torch found out.
        last = [frame for frame in frames if "/torch/" not in frame.filename][-1]
        # Without what would change the terminal that it is shown on.
        text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(error).split()))
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]} …"
        where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
        what = f"raised {type(error).__name__}: {text} ({where})"
        failing = [row for row in range(len(inputs)) if self._fails_alone(model, inputs, targets, seed, row)]
        if not failing:
            what += f", on a batch of {len(inputs)} inputs but on none of them alone"
        elif len(failing) < len(inputs):
            what += f", on {len(failing)} of {len(inputs)} inputs (first: number {failing[0]} of the batch)"
        return MethodError(what, fault=f"{type(error).__name__} {where}")

    def _fails_alone(self, model: nn.Module, inputs: Tensor, targets: Tensor, seed: int, row: int) -> bool:
        before, limit = Snapshot(model), TimeLimit(self.run.timeout)
        try:
            with chosen(slice(row, row + 1)):
                self._call(model, inputs[row : row + 1].clone(), targets[row : row + 1].clone(), seed, limit)
        except (Exception, SystemExit, TimedOut) as error:
            if error is limit.interruption:
                raise
            return True
        finally:
            before.restore()
        return False
