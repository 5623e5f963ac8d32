"""A subject: a model, inputs that it understands, and what is known to be true of both."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from xattr_check.core.context import IDS, Context, Contextual, in_context, rows, with_context
from xattr_check.core.examination import Examination, arranged, call, careful, examine, watchable
from xattr_check.core.identity import Identity
from xattr_check.core.layouts import Beside, Embeddings, Layout, Tokens, expect_channels_first, layout_of
from xattr_check.core.outputs import KINDS, Classes, Output, Value
from xattr_check.core.recipe import Recipe
from xattr_check.core.returned import Returned, Select, reading_of, returning
from xattr_check.core.state import full_precision
from xattr_check.core.targets import expect_outputs, expect_targets
from xattr_check.core.tokens import MASK, expect_context, valid_tokens, vocabulary_of, words_of
from xattr_check.errors import LayoutError, SubjectError, UnknownInput
from xattr_check.storage.digest import digest, digest_model, digest_rows

Reference = Callable[[int, torch.Generator], Tensor]
T = TypeVar("T")
# Inputs whose values are asked for at once.
CHUNK = 256


class Resolved(Generic[T]):
    """A field that is given by name or left out, and is the object itself once the subject is made."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, subject: None, owner: type) -> None: ...

    @overload
    def __get__(self, subject: "Subject", owner: type) -> T: ...

    def __get__(self, subject: "Subject | None", owner: type) -> T | None:
        # A dataclass asks the class for what the field is by default.
        return None if subject is None else vars(subject)[self.name]

    def __set__(self, subject: "Subject", value: T | str | None) -> None:
        vars(subject)[self.name] = value


# What is true of features, by its name in `truth`.
MASKS = frozenset({"mask", "other_mask", "dummy", "symmetric"})
# What stands beside the inputs, row by row, in `truth`.
BESIDE = frozenset({"background", "without_spurious"})
# The siblings that are asked about the subject's own targets.
TRAINED_OTHERWISE = frozenset({"shuffled_labels", "retrained", "spurious"})
# The first words of what a subject may be given beside its model, inputs and targets.
GIVEN = MASKS | BESIDE | {"other_target", "black", "scene"}
GIVEN |= {"sibling", "recipe", "reference"}
BY_NAME = "give what follows the targets by name"
# In deviations of the data, how far its mean has to be from zero to be another baseline.
FAR = 0.5
BLACK = "black to be a finite number, or what broadcasts to an input"


@dataclass(frozen=True, eq=False)
class Subject:
    """What a method is judged on.

    name: how reports call it.
    model: maps (N, *F) to outputs (N, K); put into eval mode here, its weights are never changed.
    inputs: (N, *F) float, as the model expects them; or (N, T) int64, ids of tokens, of which the embeddings
        (N, T, E) are made that `inputs` are from then on, with the ids in `context["ids"]`.
    targets: (N,) int64, the output that is explained for each input: zeros where there is one alone.
    layout: what a feature of the inputs is: `image` (C, H, W), `columns` (D,), `volume` (C, D, H, W), which
        their number of axes tells, `signal` (C, T) or `embeddings` (T, E), between which it does not.
    output: what the outputs mean: `classes`, logits of classes that exclude one another, whose probability is
        the softmax, by default where there are several; `labels`, logits of labels of which several may hold,
        the sigmoid; `margin`, one logit z of two classes, explained by −z for target 0 and by z for target 1;
        `value`, real numbers, read as their place among those of all inputs.
    select: which part of what the model returns its outputs are, where that is no tensor: a field's name, its
        place, or a function. One output (N,) is read as (N, 1).
    context: other inputs of the model by name, (N, …) each: it is called as model(inputs, **context).
    embedding: the module that embeds ids, or its name. absence: the id that stands for no word, by default
        that of the embedding's padding. padding: the id that fills texts up, by default the same; it is never
        ranked, removed or counted, and neither is what `attention_mask` of the context leaves out.
    names: what features are called in pictures: of columns (D,), of ids the words of the whole vocabulary.
    concepts: where each of some concepts is, by its name: (N, *spatial) or (N, *map_shape) bool, with which
        units of the model can be named. What stands before a slash is its kind, as in `digit/3`. No check
        reads them.
    black: what a black image is as the model is given it, a number or what broadcasts to an input, as
        (C, 1, 1); None where that is not known.
    valid: (N, T) bool, which tokens are no padding; None where all are words.
    reference: (n, generator) -> (n, *F), what absence looks like; drawn anew at every call.
    regions: (*spatial) int64, the group of each feature, or None.
    truth: tensors known to be true of the inputs, by rows; bool ones of features are (N, *spatial) or
        (N, *map_shape), as (N, 1, H, W) of images: `mask`, what makes the target, `other_mask`, what makes
        `other_target` (N,) int64, `dummy`, what the model does not use, `symmetric`, two it treats alike.
    causal: whether the model is known to use what `mask` shows: without it the target is gone, and nothing
        else changes the target. Then checks that compare maps with the mask gate, and do not only advise; one
        that removes or shows features tells nothing of what a control beats that neither this mask beats
        nor a method that asks the model.
    siblings: the same network trained otherwise, by name: `shuffled_labels`, `scene`, …
    recipe: how networks are trained from scratch, for checks that retrain, or None.
    generated: features generated with this model, by scenario, as `generation.subjects.packed` gives them;
        verified when they are used. What is not there is generated.
    examination: what is known of the model.

    A model that writes to its inputs is replaced by a copy that is called on copies of them; one whose
    outputs have to be read from what it returns, by an object with the same modules that returns them.
    Raises SubjectError where these do not fit together.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    reference: Reference | None = None
    regions: Tensor | None = None
    truth: Mapping[str, Tensor] = field(default_factory=dict)
    causal: bool = False
    siblings: Mapping[str, nn.Module] = field(default_factory=dict)
    recipe: Recipe | None = None
    generated: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    layout: Resolved[Layout] = Resolved()
    output: Resolved[Output] = Resolved()
    select: Select | None = None
    context: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: str | nn.Module | None = None
    absence: int | None = None
    padding: int | None = None
    names: Sequence[str] = ()
    concepts: Mapping[str, Tensor] = field(default_factory=dict)
    black: float | Tensor | None = None
    valid: Tensor | None = field(init=False, repr=False, default=None)
    examination: Examination = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wrong = self._mistake
        if not isinstance(self.model, nn.Module):
            hint = "wrap it in a module whose forward calls it" if callable(self.model) else ""
            raise wrong("model to be a torch.nn.Module", type(self.model).__name__, hint)
        if not isinstance(self.inputs, Tensor):
            raise wrong("inputs (N, *F) with N ≥ 1", _shape_of(self.inputs), "pass torch.as_tensor(inputs)")
        if self.inputs.ndim < 2 or len(self.inputs) == 0:
            raise wrong("inputs (N, *F) with N ≥ 1", _shape_of(self.inputs))
        if self.reference is not None and not callable(self.reference):
            came = f"{type(self.reference).__name__} {self.reference!r:.40}"
            raise wrong("reference to be a function (n, generator) -> (n, *F)", came, BY_NAME)
        for what, given in (("truth", self.truth), ("siblings", self.siblings)):
            if not isinstance(given, Mapping):
                raise wrong(f"{what} to be a mapping by name", f"{type(given).__name__}", BY_NAME)
        if self.inputs.requires_grad:  # or a method's own copies of them would be no leaves
            object.__setattr__(self, "inputs", self.inputs.detach())
        try:
            object.__setattr__(self, "model", watchable(self.model))
            beside = self._resolve_context()
            if vars(self)["layout"] is None:
                expect_channels_first(self.inputs, self.model)
            object.__setattr__(self, "layout", layout_of(self.inputs, vars(self)["layout"]))
            object.__setattr__(self, "valid", self._resolve_valid())
            expect_targets(self.targets, len(self.inputs))
        except LayoutError as error:
            hint = arranged(self.model, self.inputs)
            expected = "inputs (N, *F) as the model takes them"
            raise (
                wrong(expected, _shape_of(self.inputs), hint) if hint else error.about("subject", self.name)
            ) from None
        except SubjectError as error:
            raise error.about("subject", self.name) from None
        if not bool(torch.isfinite(self.inputs).all()):
            row = int((~torch.isfinite(self.inputs)).flatten(1).any(1).nonzero()[0])
            raise wrong("finite inputs", f"NaN or infinite values, first in row {row}")
        self._expect_names()
        self._expect_black()
        for key, value in self.truth.items():
            if len(value) != len(self.inputs):
                raise wrong(f"truth {key!r} with {len(self.inputs)} rows", str(len(value)))
            shape = _shape_of(self.inputs)
            if key in BESIDE and self.embedding is None and _shape_of(value) != shape:
                raise wrong(f"truth {key!r} of the shape of the inputs, {shape}", _shape_of(value))
            if key in MASKS:
                told = self._mask_of(f"truth {key!r}", key, value)
                object.__setattr__(self, "truth", {**self.truth, key: told})
        concepts = {key: self._mask_of(f"concept {key!r}", "it", one) for key, one in self.concepts.items()}
        object.__setattr__(self, "concepts", concepts)
        if self.causal and "mask" not in self.truth:
            raise wrong("truth 'mask' where causal=True", "none")
        kind = self._kind_of_output()
        models = {"": self.model, **self.siblings}
        fit: dict[str, nn.Module] = {}
        for name, model in models.items():
            fit[name], examined = self._fit(name, model, kind, beside)
            if not name:
                object.__setattr__(self, "examination", examined)
            elif name in TRAINED_OTHERWISE and examined.outputs != self.examination.outputs:
                expected = f"sibling {name!r} with as many outputs as the model, {self.examination.outputs}"
                raise wrong(expected, str(examined.outputs))
        object.__setattr__(self, "model", fit.pop(""))
        object.__setattr__(self, "siblings", fit)
        object.__setattr__(self, "output", self._resolve_output(kind))
        try:
            expect_outputs(self.targets, self.examination.outputs)
        except SubjectError as error:
            raise error.about("subject", self.name) from None

    def __repr__(self) -> str:
        model, inputs = type(self.model).__name__, f"{_shape_of(self.inputs)} {self.layout.name}"
        return f"<Subject {self.name}: {model}, {inputs}, {self.examination.outputs} {self.output.name}>"

    def _mask_of(self, told: str, key: str, value: Tensor) -> Tensor:
        """(N, *map_shape) bool: a truth of features, given so or as (N, *spatial). Raises SubjectError.

        told: what it is, for errors. key: how they advise to pass it.
        """
        fitting = {(len(self.inputs), *self.layout.map_shape), (len(self.inputs), *self.spatial)}
        if not isinstance(value, Tensor) or tuple(value.shape) not in fitting:
            shapes = " or ".join(str(shape) for shape in sorted(fitting, key=len, reverse=True))
            raise self._mistake(f"{told} {shapes}, one for each feature", _shape_of(value))
        if value.dtype != torch.bool:
            hint = f"pass {key} > 0.5" if value.is_floating_point() else f"pass {key}.bool()"
            raise self._mistake(f"{told} of bool", str(value.dtype), hint)
        return self.layout.maps(value)

    def _expect_names(self) -> None:
        """Raise SubjectError where there are names, but not one for each feature or word."""
        if not self.names:
            return
        if self.tokens:
            most = int(self.context[IDS].max())
            if len(self.names) <= most:
                raise self._mistake(f"names of all ids up to {most}, by id", f"{len(self.names)}")
        elif len(self.names) != (count := math.prod(self.spatial)):
            raise self._mistake(f"{count} names, one for each feature", str(len(self.names)))

    def _expect_black(self) -> None:
        """Raise SubjectError where black is given of what are no images, or is none."""
        if self.black is None:
            return
        if not self.is_image:
            raise self._mistake("black where inputs are images (N, C, H, W)", f"{self.layout.name}")
        try:
            value = torch.as_tensor(self.black)
        except (TypeError, ValueError, RuntimeError):
            raise self._mistake(BLACK, repr(self.black)) from None
        try:
            fitting = value.expand_as(self.inputs[0]).shape == self.inputs.shape[1:]
        except RuntimeError:
            fitting = False
        if not fitting or not bool(torch.isfinite(value).all()):
            came = _shape_of(value) if value.ndim else str(self.black)
            raise self._mistake(BLACK, came)

    def _kind_of_output(self) -> type[Output] | None:
        """What the outputs are said to mean, None where nothing is said. Raises SubjectError."""
        given: Output | str | None = vars(self)["output"]
        kinds = {kind.name: kind for kind in KINDS}
        if isinstance(given, str) and given not in kinds:
            raise self._mistake(f"output= one of {', '.join(kinds)}", repr(given))
        return kinds[given] if isinstance(given, str) else None if given is None else type(given)

    def _resolve_output(self, kind: type[Output] | None) -> Output:
        """What the outputs mean; values are read by those of all inputs."""
        given: Output | str | None = vars(self)["output"]
        if isinstance(given, Output):
            return given
        if kind is Value:
            return Value.of(self.outputs_of_all())
        return (kind or Classes)()

    def outputs_of_all(self) -> Tensor:
        """(N, K): what the model returns for its inputs."""
        found = []
        with torch.no_grad(), full_precision(self.inputs.device):
            for some in torch.arange(len(self.inputs)).split(CHUNK):
                with rows(some):
                    found.append(self.model(self.inputs[some.to(self.inputs.device)]))
        return torch.cat(found)

    def _resolve_context(self) -> Context | None:
        """The other inputs that models are to find, None for none; ids become their embeddings."""
        if isinstance(self.model, Contextual):  # of another subject, which this one is made of
            return None
        expect_context(self.context, len(self.inputs))
        context = dict(self.context)
        named = vars(self)["layout"]
        if self.inputs.is_floating_point():
            if named == Tokens.name or self.embedding is not None:
                raise self._mistake("ids of tokens (N, T) as int64, with embedding=", str(self.inputs.dtype))
            return Context(context, self.inputs) if context else None
        if named not in (None, Tokens.name):
            raise self._mistake(
                f"float inputs for layout={named!r}", str(self.inputs.dtype), "pass inputs.float()"
            )
        ids = self.inputs
        found = vocabulary_of(self.model, ids, self.embedding, self.absence, self.padding)
        context[IDS] = ids
        with torch.no_grad():
            embedded = torch.cat(
                [self.model.get_submodule(found.embedding)(some) for some in ids.split(CHUNK)]
            )
        values = {"inputs": embedded.detach(), "context": context, "layout": Tokens.name, **vars(found)}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return Context(context, self.inputs, found.embedding)

    def _resolve_valid(self) -> Tensor | None:
        """(N, T): which tokens are no padding."""
        mask = self.context.get(MASK)
        if mask is not None and mask.shape != (len(self.inputs), *self.layout.spatial):
            mask = None
        if not self.tokens:
            return None if mask is None else valid_tokens(mask, None, mask)
        return valid_tokens(self.context[IDS], self.padding, mask)

    @property
    def tokens(self) -> bool:
        """Whether inputs are embedded ids of tokens."""
        return self.layout.name == Tokens.name

    def without_words(self, inputs: Tensor, index: Tensor, model: nn.Module | None = None) -> Tensor:
        """(n, *F): inputs, rows of these numbers, with what stands for no word in all places but padding.

        model: a sibling, whose own inputs these are; the subject's model for None.
        """
        absent = self.absent_word if model is None else self._absent_word_of(model)
        none = self.mean if absent is None else absent
        return self.where_valid(none.to(inputs).expand_as(inputs), inputs, index)

    def where_valid(self, values: Tensor, others: Tensor, index: Tensor) -> Tensor:
        """Values (n, *F) of rows of these numbers, and others (n, *F) on padding."""
        if self.valid is None:
            return values
        valid = self.layout.expand(self.valid[index.to(self.valid.device)])
        return torch.where(valid, values, others)

    def names_of(self, index: Tensor) -> list[list[str]]:
        """What the features of rows of these numbers are called, empty for padding; or nothing."""
        if not self.tokens:
            return [list(self.names)] * len(index) if self.names else []
        ids = self.context[IDS]
        index = index.to(ids.device)
        return words_of(ids[index], None if self.valid is None else self.valid[index], self.names)

    @cached_property
    def mean(self) -> Tensor:
        """What broadcasts to inputs: their mean, of tokens that of all that are no padding, in any place."""
        return self._mean_of(self.inputs)

    @cached_property
    def far_from_zero(self) -> bool:
        """Whether that mean is another baseline than zero, by FAR deviations of some channel or column.

        By more where so few inputs may be as far by chance. Not of tokens, whose absence is a word for
        methods as for checks.
        """
        enough = max(FAR, 3 / math.sqrt(len(self.inputs)))
        far = self.mean.abs() > enough * self.layout.deviation(self.inputs)
        return len(self.inputs) > 1 and not self.tokens and bool(far.any())

    def _mean_of(self, inputs: Tensor) -> Tensor:
        """`mean` of these inputs (N, *F), those of the subject as a model or a sibling is given them."""
        if self.valid is None or not isinstance(self.layout, Embeddings):
            return self.layout.mean(inputs)
        return inputs[self.valid].mean(0)

    @cached_property
    def absent_word(self) -> Tensor | None:
        """The embedding of the id that stands for no word, (E,), else `mean`; None for what are no ids."""
        return self._absent_word_of(self.model)

    def _absent_word_of(self, model: nn.Module) -> Tensor | None:
        """The absent word in the embedding of the model, or of a sibling."""
        if not isinstance(model, Contextual) or not self.tokens:
            return None
        if self.absence is None:
            return self._mean_of(self.own_inputs(model, self.inputs, torch.arange(len(self.inputs))))
        return model.xattr_embed(torch.tensor([self.absence], device=self.inputs.device))[0]

    def _fit(
        self, sibling: str, model: nn.Module, kind: type[Output] | None, beside: Context | None
    ) -> tuple[nn.Module, Examination]:
        """The model, or a sibling, as it is called here, and what is known of it. Raises SubjectError."""
        try:
            model = watchable(model)
            with suppress(NotImplementedError):  # an exported model is in the mode that it was exported in
                model.eval()
            model = model if beside is None else with_context(model, beside)
            inputs = (
                self.own_inputs(model, self.inputs, torch.arange(len(self.inputs)))
                if sibling
                else self.inputs
            )
            if not isinstance(model, Returned):
                with full_precision(self.inputs.device), rows(torch.arange(1)):
                    returned = call(model, inputs[:1])
                reading = reading_of(returned, self.select, kind.name if kind else None)
                model = model if reading is None else returning(model, reading)
            with rows(torch.arange(len(inputs))):
                examined = examine(model, inputs, self.layout, kind or Classes)
            return careful(model) if examined.writes else model, examined
        except SubjectError as error:
            name = f"{self.name}, sibling {sibling}" if sibling else self.name
            if error.__cause__ is not None and not (sibling or error.hint or beside):
                raise error.advising(arranged(model, self.inputs)).about("subject", name) from error.__cause__
            raise error.about("subject", name) from error.__cause__

    def own_inputs(self, model: nn.Module, inputs: Tensor, index: Tensor) -> Tensor:
        """Inputs (n, *F), rows of these numbers, as a sibling is given them: ids in its own embedding."""
        if not self.tokens or not isinstance(model, Contextual):
            return inputs
        ids = self.context[IDS]
        return model.xattr_embed(ids[index.to(ids.device)])

    def with_inputs(
        self, inputs: Tensor, targets: Tensor, truth: Mapping[str, Tensor], *, causal: bool = False
    ) -> "Subject":
        """The model on other inputs (n, *F), or ids (n, T) where its own are, and what is true of them.

        causal: whether the model is known to use what their mask shows.
        """
        changed: dict[str, Any] = {"inputs": inputs, "targets": targets, "truth": truth}
        changed |= {"regions": None, "causal": causal, "concepts": {}}
        changed |= {"siblings": {}, "recipe": None, "generated": {}}
        if self.tokens and isinstance(self.model, Contextual):
            embedded, table = self.model.xattr_embed(inputs), {IDS: inputs}
            context = Context(table, embedded, self.model.xattr_context.embedding)
            changed |= {"inputs": embedded, "context": table, "model": in_context(self.model, context)}
            # Where one id says both that no word is there and that the text is over, either is the same.
            changed |= {"padding": None if self.absence == self.padding else self.padding}
        return replace(self, **changed)

    def _mistake(self, expected: str, came: str, hint: str = "") -> SubjectError:
        """The error of this subject."""
        return SubjectError(option="subject", value=self.name, expected=expected, came=came, hint=hint)

    @property
    def is_image(self) -> bool:
        """Whether inputs are (N, C, H, W)."""
        return self.layout.name == "image"

    @property
    def spatial(self) -> tuple[int, ...]:
        """The features, which are ranked: (H, W) of images, (D,) of columns, (T,) of tokens and signals."""
        return self.layout.spatial

    @cached_property
    def offers(self) -> frozenset[str]:
        """What a check or a control may need of a subject."""
        names = {f"sibling {name}" for name in self.siblings} | set(self.truth)
        names |= {self.layout.name, self.output.name, *self.output.offers}
        names |= {"neighbours"} if isinstance(self.layout, Beside) else set()
        names |= {"reference"} if self.reference is not None else set()
        names |= {"black"} if self.black is not None else set()
        names |= {"recipe"} if self.recipe is not None else set()
        names |= {"regions"} if self.regions is not None else set()
        names |= {"causal"} if self.causal else set()
        names |= {"context"} if self.context else set()
        names |= {"mean_far_from_zero"} if self.far_from_zero else set()
        names |= {"third_class"} if self._has_third_class() else set()
        return frozenset(names)

    def _has_third_class(self) -> bool:
        """Whether there is a class besides two, or what outputs are of are no classes."""
        if self.output.name != Classes.name:
            return True
        try:
            return self._first_outputs().shape[1] > 2
        except Exception:  # of a model that no longer serves, which is told where it is asked
            return True

    @property
    def fingerprint(self) -> str:
        """Digest of everything that a result can depend on, its model as it is now."""
        return digest(self._model_digest(), self._rest)

    @cached_property
    def _rest(self) -> str:
        """Digest of all but the model."""
        siblings = {name: digest_model(model) for name, model in self.siblings.items()}
        regions = self.regions if self.regions is not None else ""
        absent = "" if self.reference is None else self.reference(2, torch.Generator().manual_seed(0))
        meant = [self.layout.name, self.output.name]
        parts = [self.inputs, self.targets, dict(self.truth), siblings, regions, absent, meant]
        if self.black is not None:
            parts.append(torch.as_tensor(self.black).to(self.inputs).expand_as(self.inputs[0]))
        if self.context:
            parts += [dict(self.context), self.absence, self.padding]
        return digest(*parts)

    @cached_property
    def _identity(self) -> Identity:
        return Identity()

    @cached_property
    def _computed(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Outputs for the first input, twice, when a digest of the model was taken, by that digest."""
        return {}

    def _model_digest(self) -> str:
        with rows(torch.arange(1)):
            found = self._identity.digest(self.model, self.inputs[:1])
        if found not in self._computed:
            self._computed[found] = self._first_outputs(), self._first_outputs()
        return found

    def _first_outputs(self) -> Tensor:
        with torch.no_grad(), full_precision(self.inputs.device), rows(torch.arange(1)):
            outputs: Tensor = self.model(self.inputs[:1].clone())
        return outputs

    def computes_as_before(self) -> bool:
        """Whether the model still gives the outputs that it gave when its digest was taken, but for rounding.

        It does not where something changed that no digest tells, such as a file that it reads.
        """
        before, again = self._computed[self._model_digest()]
        try:
            now = self._first_outputs()
        except Exception:
            return False
        # Of a model that gives other outputs each time, nothing can be said.
        return _close(now, before) or not _close(again, before)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {row: index for index, row in enumerate(digest_rows(self.inputs))}

    def locate(self, inputs: Tensor) -> Tensor:
        """(n,) int64: which of the subject's inputs each row of inputs (n, *F) is. Raises UnknownInput."""
        try:
            return torch.tensor([self._rows[row] for row in digest_rows(inputs)], dtype=torch.int64)
        except KeyError:
            raise UnknownInput(
                f"subject {self.name!r}: asked for the truth about an input that is not its own"
            ) from None

    def to(self, device: torch.device) -> "Subject":
        """The same subject with copies of its models and tensors on a device; itself where they are there.

        Raises SubjectError for a model that cannot be copied.
        """
        if self.inputs.device == device:
            return self
        return replace(
            self,
            model=self._copy_to(self.model, device),
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            regions=None if self.regions is None else self.regions.to(device),
            truth={key: value.to(device) for key, value in self.truth.items()},
            siblings={key: self._copy_to(value, device) for key, value in self.siblings.items()},
            context={key: value.to(device) for key, value in self.context.items()},
            concepts={key: value.to(device) for key, value in self.concepts.items()},
            black=self.black.to(device) if isinstance(self.black, Tensor) else self.black,
            output=self.output.to(device),
        )

    def _copy_to(self, model: nn.Module, device: torch.device) -> nn.Module:
        """A copy of a model on a device: the user's own stays where it is."""
        try:
            return copy.deepcopy(model).to(device)
        except (RuntimeError, TypeError, copy.Error) as error:
            raise SubjectError(
                f"subject {self.name!r}: the model cannot be copied to {device}: {error}",
                hint="make the subject with its model and inputs on that device",
            ) from error


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether outputs are the same, but for rounding."""
    tolerance = torch.finfo(other.dtype).eps ** 0.5 * float(other.abs().max())
    return one.shape == other.shape and bool((one - other).abs().max() <= tolerance)


def _shape_of(value: Any) -> str:
    """The shape of a tensor, and the type of what is none."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
