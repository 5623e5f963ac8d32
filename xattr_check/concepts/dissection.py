"""Network dissection: which concept each unit of a layer detects."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from xattr_check.concepts.blocks import Blocks
from xattr_check.concepts.thresholds import Tails
from xattr_check.concepts.units import Units, in_training
from xattr_check.core.context import chosen
from xattr_check.core.layouts import Layout
from xattr_check.core.state import full_precision
from xattr_check.errors import ConceptError
from xattr_check.perturbation.chunks import Chunks
from xattr_check.perturbation.outputs import CHUNK, probe

MEMORY = 2**28  # bytes of activations that are kept, and of one chunk
QUANTILE, THRESHOLD = 0.005, 0.04  # of [bau2017]
# A unit that is on at more places than this has a value that it mostly has, and marks nothing.
MOST = 0.5


@dataclass(frozen=True, eq=False)
class Dissection:
    """What each of the K units of a layer has in common with each of C concepts.

    units: the layer. concepts: their names. quantile: the share of places on which a unit is on.
    threshold: from which intersection over union on a unit is a detector.
    cutoffs: (K,) float, above which value a unit is on. on: (K,) float64, the share of its places that are.
    ious: (K, C) float64, intersection over union, each summed over the images with the concept; 0 for a unit
        that marks nothing. shown: (C,) int64, on how many images a concept is.
    ceilings: (C,) float64, what a unit could reach about, that is on for the share and only on the concept.
    """

    units: Units
    concepts: tuple[str, ...]
    quantile: float
    threshold: float
    cutoffs: Tensor
    on: Tensor
    ious: Tensor
    shown: Tensor
    ceilings: Tensor

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.units.layer

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each unit detects: the concept of its largest IoU, or nothing below the threshold."""
        largest, best = self.ious.max(1)
        pairs = zip(largest.tolist(), best.tolist(), strict=True)
        return tuple(self.concepts[one] if iou >= self.threshold else "" for iou, one in pairs)

    @property
    def detectors(self) -> list[int]:
        """The numbers of the units that detect a concept, the best first."""
        order = self.ious.amax(1).argsort(descending=True, stable=True).tolist()
        return [unit for unit in order if self.names[unit]]

    @property
    def counts(self) -> dict[str, int]:
        """How many units detect each of the concepts that any does, in the order of the concepts."""
        found = Counter(name for name in self.names if name)
        return {name: found[name] for name in self.concepts if name in found}

    @property
    def kinds(self) -> dict[str, int]:
        """How many units detect concepts of each kind, where names have one: `digit` in `digit/3`."""
        found: Counter[str] = Counter({kind_of(name): 0 for name in self.concepts if kind_of(name)})
        for name in filter(None, map(kind_of, self.names)):
            found[name] += 1
        return dict(found)


def kind_of(concept: str) -> str:
    """What stands before the slash of a concept's name; empty where there is none."""
    return concept.rpartition("/")[0]


def network_dissection(
    model: nn.Module,
    images: Tensor,
    concept_masks: Mapping[str, Tensor],
    *,
    layer: str | None = None,
    call: int = -1,
    quantile: float = QUANTILE,
    threshold: float = THRESHOLD,
    memory: int = MEMORY,
    layout: Layout | str | None = None,
) -> Dissection:
    """Which concept each unit of a layer detects. [bau2017], [khakzar2021c]

    A unit is on where its activation, linear between its cells to the size of the image, is above the value
    that it exceeds on a share `quantile` of all places of all images. It detects the concept with which it
    has the largest intersection over union, from `threshold` on: a ratio of sums over the images that have
    the concept. A unit that has one value nearly everywhere, such as 0, is not cut there: above what would be
    its threshold is more than half of all places, and it detects nothing.

    model: in eval mode. images: (N, C, H, W), or signals or volumes. concept_masks: (N, H, W) or (N, 1, H, W)
    bool by the name of a concept.
    layer: a module's name; by default the last one without others inside that returns more than a cell. call:
    which of its calls counts, the last by default.
    memory: bytes of activations that are kept; where there are more, they are computed twice. Of all values,
    the tail above the threshold alone is kept.
    Raises ConceptError, a ValueError, for what does not fit, and for activations that are not finite.
    """
    if not 0 < quantile < 1:
        raise ConceptError(option="quantile", value=quantile, expected="a share above 0 and below 1")
    if model.training:
        raise in_training()
    units = Units.of(model, images, layer, call, layout)
    masks = {name: _mask_of(units, name, mask, len(images)) for name, mask in concept_masks.items()}
    if not masks:
        raise ConceptError(expected="masks of at least one concept", came="none")
    with torch.no_grad(), full_precision(images.device):
        source = Activations(model, images, units, memory)
        tails = Tails(quantile, len(images) * units.places)
        for rows, some in source:
            _expect_finite(units, some, rows)
            tails.add(some.flatten(2).movedim(1, 0).flatten(1))
        overlap = Overlap(units, masks, tails.thresholds(), memory)
        for rows, some in source:
            overlap.add(rows, some)
    on = overlap.on.cpu().double() / (len(images) * units.places)
    pixels = len(images) * math.prod(units.axes.spatial)
    return Dissection(
        units=units,
        concepts=tuple(masks),
        quantile=quantile,
        threshold=threshold,
        cutoffs=overlap.cutoffs.cpu(),
        on=on,
        ious=torch.where((on <= MOST)[:, None], overlap.ious(), 0.0),
        shown=overlap.shown.cpu(),
        ceilings=(quantile * pixels / overlap.labelled.cpu().double()).clamp_max(1),
    )


class Activations:
    """The units on all images, chunk by chunk, as often as they are asked for.

    They are kept where they take no more than `memory` bytes, and else computed each time.
    """

    def __init__(self, model: nn.Module, images: Tensor, units: Units, memory: int) -> None:
        self.model, self.images, self.units = model, images, units
        cost = probe(model, images)
        fitting = max(1, memory // cost.bytes)
        self._layout = cost.layout
        self._chunks = Chunks(min(CHUNK, fitting) if images.device.type == "cpu" else fitting)
        size = len(images) * units.count * units.places * images.element_size()
        self._kept: list[tuple[slice, Tensor]] | None = [] if size <= memory else None

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the images, and the units there, (n, K, *cells)."""
        if self._kept:
            yield from self._kept
            return
        for rows, some in self._chunks.over(self._forward, len(self.images)):
            if self._kept is not None:
                self._kept.append((rows, some))
            yield rows, some

    def _forward(self, rows: slice) -> Tensor:
        with chosen(rows):
            some = self.images[rows].contiguous(memory_format=self._layout)
            found = self.units.activations(self.model, some)
        return found.float() if found.element_size() < 4 else found


class Overlap:
    """What units and concepts have in common, summed over images.

    cutoffs: (K,), above which value a unit is on. on: (K,) int64, on how many of its own places it is.
    shown, labelled: (C,) int64, on how many images a concept is, and on how many of their pixels.
    """

    def __init__(self, units: Units, masks: Mapping[str, Tensor], cutoffs: Tensor, memory: int) -> None:
        self.units, self.cutoffs = units, cutoffs
        self._masks = [mask.reshape(len(mask), *units.axes.spatial) for mask in masks.values()]
        self._pairs = max(1, memory // (16 * (len(masks) + math.prod(units.axes.spatial))))
        self.on = torch.zeros(units.count, dtype=torch.int64, device=cutoffs.device)
        self._both, self._marked = (self.on[:, None].repeat(1, len(masks)) for _ in range(2))
        self.shown, self.labelled = (self.on.new_zeros(len(masks)) for _ in range(2))
        self._blocks = Blocks(units.cells, units.axes.spatial, cutoffs.device)

    def add(self, rows: slice, activations: Tensor) -> None:
        """Take in the units (n, K, *cells) on rows of the images."""
        labels = [mask[rows].to(activations.device) for mask in self._masks]
        sizes = torch.stack([_counted(label.flatten(1)) for label in labels], 1)
        there = sizes > 0
        self.shown += there.sum(0)
        self.labelled += sizes.sum(0)
        # Of each concept on each image that has it, in one list; `numbers` tells where in it.
        concept, image = there.T.nonzero().unbind(1)
        sums = self._blocks.sums(torch.cat([one[on] for one, on in zip(labels, there.T, strict=True)]))
        numbers = torch.zeros_like(sizes)
        numbers[image, concept] = torch.arange(len(image), device=image.device)
        touched = there.new_zeros(len(there), self._blocks.count, there.shape[1])
        touched[image, :, concept] = self._blocks.touched(sums)
        # Between cells a unit is never higher than on them: most are off on most images, and done with. So
        # are those that are on everywhere, which mark nothing.
        everywhere = self.cutoffs.isneginf()
        self.on += everywhere * (len(activations) * self.units.places)
        pairs = ((activations.flatten(2).amax(2) > self.cutoffs) & ~everywhere).nonzero()
        for image, unit in (some.unbind(1) for some in pairs.split(self._pairs)):
            maps = activations.flatten(0, 1).index_select(0, image * self.units.count + unit)
            cutoffs = self.cutoffs[unit]
            self.on.index_add_(0, unit, _counted(maps.flatten(1) > cutoffs[:, None]))
            runs = self._blocks.above(maps, cutoffs)
            marks = torch.zeros_like(unit).index_add_(0, runs.maps, runs.counts())
            self._marked.index_add_(0, unit, marks[:, None] * there[image])
            seen = image[runs.maps]
            near = touched.flatten(0, 1).index_select(0, seen * self._blocks.count + runs.blocks)
            met, concept = near.nonzero().unbind(1)
            common = runs.within(met, numbers[seen[met], concept], sums)
            where = (unit[runs.maps[met]], concept)
            self._both.index_put_(where, common, accumulate=True)

    def ious(self) -> Tensor:
        """(K, C) float64: sums of intersections over sums of unions; 0 where no image has the concept."""
        both = self._both.cpu().double()
        return (both / (self._marked.cpu() + self.labelled.cpu() - both)).nan_to_num(0)


def _counted(marks: Tensor) -> Tensor:
    """(n,) int64: how many of (n, W) bool are true; in int32, since sums of them are several times faster."""
    return marks.sum(1, dtype=torch.int32).long()


def _mask_of(units: Units, name: str, mask: Tensor, count: int) -> Tensor:
    """A concept's mask. Raises ConceptError for another shape or type."""
    axes = units.axes
    shapes = [(count, *axes.spatial), (count, *axes.map_shape)]
    if not isinstance(mask, Tensor) or tuple(mask.shape) not in shapes:
        came = str(tuple(mask.shape)) if isinstance(mask, Tensor) else type(mask).__name__
        expected = f"a tensor {' or '.join(map(str, shapes))}"
        raise ConceptError(option="concept", value=name, expected=expected, came=came)
    if mask.dtype != torch.bool:
        hint = "pass mask > 0.5" if mask.is_floating_point() else "pass mask.bool()"
        raise ConceptError(
            option="concept",
            value=name,
            expected="bool",
            came=str(mask.dtype).removeprefix("torch."),
            hint=hint,
        )
    return mask


def _expect_finite(units: Units, activations: Tensor, rows: slice) -> None:
    """Raise ConceptError where a unit is no number, or infinite."""
    if bool(torch.isfinite(activations.sum())):
        return
    finite = torch.isfinite(activations.flatten(2)).all(2)
    if not bool(finite.all()):  # and it was not the sum alone
        image, unit = (int(one) for one in (~finite).nonzero()[0])
        raise ConceptError(
            option="layer",
            value=units.layer,
            expected="finite activations",
            came=f"NaN or infinite ones, first of unit {unit} on input {rows.start + image}",
        )
