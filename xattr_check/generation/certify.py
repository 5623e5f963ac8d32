"""What features do to a model's outputs, in every coalition, and the certificate that says so."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from xattr_check.core.outputs import Classes, Output
from xattr_check.errors import Invalid
from xattr_check.generation.folding import folded
from xattr_check.generation.patches import paste
from xattr_check.generation.replicas import Replicas
from xattr_check.generation.scenarios import Scenario
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.outputs import Probe, probe
from xattr_check.storage.store import Tensors

T = TypeVar("T")
# The certificate, in units of the contributing effect: how far a change is from what it must be, over all
# draws. What [khakzar2022] reports as 0.0712 is another quantity, the change over the output itself, as a
# mean.
MEDIAN, NINETIETH = 0.07, 0.15
# The probability of every class or label that is to be made, in all but a tenth of the draws, and in
# `saturation` the share that what makes it reaches of the effect of all.
SOFTMAX, REACH = 0.94, 0.93
# Fresh references and placements behind a certificate, and how many of them are shown a sample at once.
DRAWS, AT_ONCE = 96, 24
# A model is called on so many images at once where they fit, since of few a CPU makes less a second. Without
# gradients so many times as many fit: what a layer has made is let go of when the next one has read it.
ENOUGH, FREED = 16, 2
# Threads that work side by side may take so many times the memory of a chunk.
ROOM = 16
# Each has so many slices of the work: one may be done before the others, or have less of its core.
TURNS = 2


@dataclass(frozen=True)
class Levels:
    """Which shares of the draws the bounds of a certificate are asked of."""

    median: float
    ninetieth: float


ASKED = Levels(0.5, 0.9)
# Of a sample that holds at these on draws of its own, few certificates on DRAWS others would not hold: where
# the chance that a draw is beyond a bound is 0.3 or 0.03, 48 or 10 of 96 are in less than one of a thousand.
SURE = Levels(0.7, 0.97)
# What is asked of very few draws: of them the ninetieth percentile says all that they can say of a tail.
LIKELY = Levels(SURE.median, ASKED.ninetieth)

# A coalition, and those of its features that gradients reach; both are bit masks over the features.
Variant = tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What a model says about n samples in K draws each.

    own: (n, K, M) log-probability of each class or label that is made, with those features that make it.
    logit: (n, K, M) the logit of the same.
    effect: (n, K, M) that logit minus the one of the empty image.
    larger, smaller: (n, K, J) the output with and without the feature, for each change.
    whole: (n, K) the effect of all features together on the first class.
    """

    own: Tensor
    logit: Tensor
    effect: Tensor
    larger: Tensor
    smaller: Tensor
    whole: Tensor

    @property
    def change(self) -> Tensor:
        """(n, K, J) changes of outputs, in logits."""
        return self.larger - self.smaller


def unit(effect: Tensor, scenario: Scenario) -> Tensor:
    """(n, K) the smallest among the contributing effects, of effects (n, K, M)."""
    return effect[..., list(scenario.contributing)].amin(-1)


def deviation(change: Tensor, effect: Tensor, scenario: Scenario) -> Tensor:
    """(n, K, J) how far changes (n, K, J) are from what they must be, of effects (n, K, M); in logits."""
    shares = change.new_tensor([one.share for one in scenario.changes])
    return change - shares * unit(effect, scenario)[..., None]


@dataclass(frozen=True)
class Certificate:
    """What holds of each of n samples, over draws that no optimiser saw.

    effect: (n,) median of the contributing effect e = Φ_a(X ∪ f_a) − Φ_a(X), the smallest of them where
        several contribute, in logits.
    median, ninetieth: (n, J) of |change − share · e| / e.
    softmax: (n, M) the 10th percentile of the probability of each class that is made.
    reach: (n, M) median share of the effect of all that what makes it reaches; ones where nothing saturates.
    """

    effect: Tensor
    median: Tensor
    ninetieth: Tensor
    softmax: Tensor
    reach: Tensor

    def within(self, margin: float) -> Tensor:
        """(n,) bool: whether every bound holds, and holds when only so much of its width is allowed."""
        return (
            (self.median <= MEDIAN * margin).all(1)
            & (self.ninetieth <= NINETIETH * margin).all(1)
            & (1 - self.softmax <= (1 - SOFTMAX) * margin).all(1)
            & (1 - self.reach <= (1 - REACH) * margin).all(1)
        )

    @property
    def holds(self) -> Tensor:
        """(n,) bool."""
        return self.within(1.0)

    def __getitem__(self, rows: Tensor) -> "Certificate":
        """The certificate of some of the samples."""
        return Certificate(*(getattr(self, one.name)[rows] for one in fields(self)))

    def __setitem__(self, rows: Tensor, other: "Certificate") -> None:
        """Take over what holds of some of the samples."""
        for one in fields(self):
            own = getattr(self, one.name)
            own[rows] = getattr(other, one.name).to(own)

    def tensors(self) -> Tensors:
        """Every figure by name."""
        return {f"certificate.{one.name}": getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of(cls, tensors: Tensors) -> "Certificate":
        """What `tensors` gave, among others."""
        return cls(*(tensors[f"certificate.{one.name}"] for one in fields(cls)))

    @classmethod
    def blank(cls, scenario: Scenario, count: int, dtype: torch.dtype = torch.float32) -> "Certificate":
        """Room for so many samples of which nothing is known."""
        changes, made = (torch.zeros(count, len(n), dtype=dtype) for n in (scenario.changes, scenario.made))
        return cls(torch.zeros(count, dtype=dtype), changes, changes.clone(), made, made.clone())


def certificate(outcome: Outcome, scenario: Scenario, levels: Levels = ASKED) -> Certificate:
    """The certificate that an outcome of K draws gives, or what it is at other levels than are asked."""
    effect = unit(outcome.effect, scenario)
    # Where there is no effect, no change is small in comparison.
    off = deviation(outcome.change, outcome.effect, scenario).abs()
    relative = torch.where(effect[..., None] > 0, off / effect.clamp_min(1e-12)[..., None], torch.inf)
    reach = torch.ones_like(outcome.effect)
    if scenario.saturating:
        reach = torch.where(
            outcome.whole[..., None] > 0, outcome.effect / outcome.whole.clamp_min(1e-12)[..., None], 0.0
        )
    return Certificate(
        effect=effect.quantile(0.5, dim=1),
        # An observed value, the larger of two: nothing is interpolated where one of them is infinite.
        median=relative.quantile(levels.median, dim=1, interpolation="higher"),
        ninetieth=relative.quantile(levels.ninetieth, dim=1, interpolation="higher"),
        softmax=-(-outcome.own.exp()).quantile(levels.ninetieth, dim=1, interpolation="higher"),
        reach=-(-reach).quantile(levels.median, dim=1),
    )


def free_variants(scenario: Scenario) -> list[Variant]:
    """Every coalition, with gradients into all of its features."""
    return [(coalition, coalition) for coalition in range(scenario.coalitions)]


@dataclass(eq=False)
class Stage:
    """A frozen copy of a model on which coalitions of patches are shown.

    output: what its outputs mean. paste: how a patch comes on an input, of images by default.
    memory: bytes that a chunk of images and its activations may take; where the device runs out of memory
        nevertheless, the chunk is halved and the work goes on.
    """

    model: nn.Module
    example: Tensor
    scenario: Scenario
    memory: int
    output: Output = field(default_factory=Classes)
    paste: Callable[[Tensor, Tensor, Tensor], Tensor] = paste

    def __post_init__(self) -> None:
        # Frozen, so that no gradient is computed for weights; a copy, so that the user's stay as they are.
        self.model = folded(copy.deepcopy(self.model).eval().requires_grad_(False), self.example)

    @cached_property
    def probe(self) -> Probe:
        """What one input costs this model."""
        with torch.no_grad():
            return probe(self.model, self.example[:2].clone())

    @cached_property
    def replicas(self) -> Replicas:
        """As many as have room: a sample at work holds all coalitions of features, and their gradients."""
        sample = 2 * self.probe.bytes * self.scenario.coalitions
        with torch.no_grad():
            fitting = ROOM * self.memory // sample
            return Replicas(self.model, self.example[:2], max(1, min(torch.get_num_threads(), fitting)))

    @cached_property
    def _chunks(self) -> Chunks:
        """Chunks of images: every activation is held, and its gradient."""
        return Chunks(self.memory // (2 * self.probe.bytes * self.replicas.most))

    @property
    def _at_once(self) -> int:
        """How many images a call without gradients is made on."""
        return max(1, min(AT_ONCE, FREED * self.memory // (self.probe.bytes * self.replicas.most)))

    def outputs_of(self, images: Tensor) -> Tensor:
        """(m, classes) of images (m, *F), without gradients, as many at once as fit."""
        at_once = max(1, self.memory // self.probe.bytes)
        with torch.no_grad():
            return torch.cat([self.outputs(part.clone()) for part in images.split(at_once)])

    def logits(
        self, patches: Tensor, references: Tensor, places: Tensor, variants: Sequence[Variant]
    ) -> list[Tensor]:
        """(n, K, classes) under each coalition; one call for several, where each is of few images.

        patches: (n, F, …); references: (n, K, *F); places: (n, K, F, A).
        """
        count, draws = references.shape[:2]
        found: dict[Variant, Tensor] = {}
        for held in (False, True):
            alike = [variant for variant in variants if (torch.is_grad_enabled() and variant[1] > 0) == held]
            # What is held until gradients are taken takes the same memory in one call and in several.
            fitting = ENOUGH if held else min(ENOUGH, self._at_once, self._chunks.size)
            together = max(1, fitting // (count * draws))
            for some in (alike[start : start + together] for start in range(0, len(alike), together)):
                images = [self._images(patches, references, places, variant) for variant in some]
                with torch.set_grad_enabled(held):
                    outputs = self.outputs(images[0] if len(images) == 1 else torch.cat(images))
                parts = outputs.split(count * draws)
                found |= {
                    variant: part.reshape(count, draws, -1) for variant, part in zip(some, parts, strict=True)
                }
        return [found[variant] for variant in variants]

    def _images(self, patches: Tensor, references: Tensor, places: Tensor, variant: Variant) -> Tensor:
        """(n · K, *F) with the patches of one coalition, of which some let gradients through."""
        coalition, free = variant
        draws, images = references.shape[1], references.flatten(0, 1)
        if not coalition:
            return images.clone()  # nothing is pasted, and a model may work in place
        for feature in range(self.scenario.features):
            if coalition >> feature & 1:
                patch = patches[:, feature].repeat_interleave(draws, 0)
                patch = patch if free >> feature & 1 else patch.detach()
                images = self.paste(images, patch, places[:, :, feature].flatten(0, 1))
        return images

    def outputs(self, images: Tensor) -> Tensor:
        """(m, classes) of images (m, *F), of no less than single precision.

        Raises Invalid with what the model raises.
        """
        try:
            found = self.replicas(images.contiguous(memory_format=self.probe.layout))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise Invalid(
                f"the model raised {type(error).__name__} on {len(images)} inputs at once, with features or "
                f"what they are shown on: {error}"
            ) from error
        # Half precision is too coarse to compare changes in.
        return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found

    def outcome(
        self,
        patches: Tensor,
        classes: Tensor,
        references: Tensor,
        places: Tensor,
        variants: Sequence[Variant] | None = None,
    ) -> Outcome:
        """What the model says about n samples; classes: (n, scenario.classes) int64.

        variants: which coalitions to show, and where their gradients go; all, with all gradients, by default.
            A change is read from the variant whose only free feature joins, if there is one.
        """
        scenario = self.scenario
        asked = free_variants(scenario) if variants is None else list(variants)
        shown = dict(zip(asked, self.logits(patches, references, places, asked), strict=True))

        def output(coalition: int, number: int, free: int) -> Tensor:
            chosen = (coalition, free) if (coalition, free) in shown else None
            if chosen is None:
                chosen = next(variant for variant in shown if variant[0] == coalition)
            index = classes[:, number, None, None].expand(-1, references.shape[1], 1)
            return shown[chosen].gather(2, index).squeeze(2)

        own, logits, effects = [], [], []
        for coalition, made in scenario.made:
            logit = output(coalition, made, coalition)
            logits.append(logit)
            own.append(self._log_probability(shown[coalition, coalition], classes[:, made]))
            effects.append(logit - output(0, made, 0))
        everything = scenario.coalitions - 1
        return Outcome(
            own=torch.stack(own, 2),
            logit=torch.stack(logits, 2),
            effect=torch.stack(effects, 2),
            larger=torch.stack([output(c.larger, c.output, 1 << c.feature) for c in scenario.changes], 2),
            smaller=torch.stack([output(c.smaller, c.output, c.smaller) for c in scenario.changes], 2),
            whole=output(everything, 0, everything) - output(0, 0, 0),
        )

    def _log_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n, K) of outputs (n, K, classes) for targets (n,)."""
        count, draws, _ = outputs.shape
        asked = targets.repeat_interleave(draws)
        return self.output.log_probability(outputs.flatten(0, 1), asked).reshape(count, draws)

    def in_chunks(self, work: Callable[[slice], T], count: int, draws: int, variants: int) -> list[T]:
        """What the work makes of slices of count samples that fit the memory, side by side."""
        return self._side_by_side(work, count, draws * variants)

    def _side_by_side(self, work: Callable[[slice], T], count: int, each: int) -> list[T]:
        workers = self.replicas.working
        if workers == 1:
            return self._one_by_one(work, count, each)
        # Of few images each, more time would go into calling than into what is called.
        turns = max(math.ceil(count / (TURNS * workers)), min(ENOUGH // each, math.ceil(count / workers)))
        size = max(1, min(self._chunks.size // each, turns))
        return self.replicas.map(work, [slice(row, row + size) for row in range(0, count, size)])

    def _one_by_one(self, work: Callable[[slice], T], count: int, each: int) -> list[T]:
        return [found for _, found in self._chunks.over(work, count, each)]

    @torch.no_grad()
    def certify(
        self,
        patches: Tensor,
        classes: Tensor,
        references: Tensor,
        places: Tensor,
        levels: Levels = ASKED,
    ) -> Certificate:
        """The certificate of n samples on references (n, K, *F) and places (n, K, F, A)."""

        draws, few = references.shape[1], len(patches) < self.replicas.working
        at_once = min(math.ceil(draws / self.replicas.working) if few else draws, self._at_once)

        def work(rows: slice) -> Certificate:
            shown = zip(references[rows].split(at_once, 1), places[rows].split(at_once, 1), strict=True)
            # Side by side, where samples are not.
            parts = self.replicas.map(
                lambda part: self.outcome(patches[rows], classes[rows], *part), list(shown)
            )
            found = Outcome(*(torch.cat([getattr(p, one.name) for p in parts], 1) for one in fields(Outcome)))
            return certificate(found, self.scenario, levels)

        over = self._one_by_one if few else self._side_by_side
        parts = over(work, len(patches), at_once)
        return Certificate(*(torch.cat([getattr(p, one.name) for p in parts]) for one in fields(Certificate)))
