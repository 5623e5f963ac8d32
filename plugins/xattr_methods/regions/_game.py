"""Regions: features that are shown and removed together."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xattr_check.core.layouts import Layout
from xattr_check.core.outputs import Output, output_of
from xattr_check.core.subject import Subject
from xattr_check.perturbation.named_regions import regions_by_name
from xattr_check.perturbation.outputs import Absent, Quantity
from xattr_check.perturbation.regions import SemanticMap
from xattr_methods._arguments import expect_output, in_the_name_of, laid_out
from xattr_methods.regions._background import BACKGROUNDS, Background, averaged, fills_of


@dataclass(frozen=True)
class Game:
    """Regions of features as players, and the target's output where only some of them are present.

    regions: those of each input, or one set of them for all.
    fills: what stands where a feature is absent, each (N, *F) or a function of what is absent; outputs are
        the mean over them.
    layout: of the inputs. explained: what the model's outputs mean.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    regions: SemanticMap
    fills: list[Absent]
    output: Quantity
    memory: int
    layout: Layout
    explained: Output

    @classmethod
    def of(
        cls,
        name: str,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        regions: str | Tensor,
        cells: int | None,
        baseline: float | Tensor,
        output: Quantity,
        memory: int,
        layout: Layout | str | None = None,
        explained: Output | str | None = None,
        subject: Subject | None = None,
        *,
        background: Background | None = None,
        backgrounds: int = BACKGROUNDS,
        seed: int = 0,
    ) -> "Game":
        """The game that a method's parameters ask for.

        regions: a name as `regions_by_name` takes it, or int64 ids of any value, (*spatial), (1, *spatial)
            or (N, *spatial).
        cells: None for as many as the layout has by default.
        subject: whose the inputs are, for regions and a background that are its own.
        background, backgrounds, seed: in place of the baseline, as `fills_of` takes them.

        Raises ValueError in the name of the method.
        """
        axes = laid_out(name, inputs, layout)
        spatial = axes.spatial
        expect_output(name, output)
        if isinstance(regions, Tensor):
            shaped = regions if regions.ndim > len(spatial) else regions.unsqueeze(0)
            if regions.is_floating_point() or shaped.shape not in ((1, *spatial), (len(inputs), *spatial)):
                raise ValueError(
                    f"{name}: expected regions of whole numbers {spatial}, alone or for each input, "
                    f"came {regions.dtype} {tuple(regions.shape)}"
                )
            found = SemanticMap.of(shaped).to(inputs.device)
        else:
            with in_the_name_of(name):
                found = regions_by_name(regions, inputs, axes, cells, subject)
        fills = fills_of(name, inputs, baseline, background, backgrounds, seed, subject)
        return cls(model, inputs, targets, found, fills, output, memory, axes, output_of(explained))

    @property
    def count(self) -> int:
        """How many players there are."""
        return self.regions.count

    def only(self, place: int) -> "Game":
        """The game of one input, by its place; outputs are asked for in the scope of its row."""
        own, regions = slice(place, place + 1), self.regions

        def placed(fill: Absent) -> Absent:
            return fill[own] if isinstance(fill, Tensor) else lambda rows, keep: fill(rows + place, keep)

        if len(regions.index) > 1:
            regions = replace(regions, index=regions.index[own])
        return replace(
            self, inputs=self.inputs[own], targets=self.targets[own], regions=regions,
            fills=[placed(fill) for fill in self.fills],
        )  # fmt: skip

    def correlation(self, near: float) -> Tensor:
        """(count, count): `near` for regions side by side, else less. Raises ValueError for what is not."""
        if not self.layout.ordered or self.regions.index.shape[1:] != self.layout.spatial:
            raise ValueError("expected regions that are beside each other where gains are correlated")
        return self.regions.correlation(near)

    def outcomes(self, coalitions: Tensor) -> Tensor:
        """(N, K) float64: the target's output on every input where only a coalition's regions are present.

        coalitions: (K, count) bool on any device; one that comes twice is evaluated once. Or a gain for each
            region: 0 for absent, 1 for present, 2 for twice its difference from what is there in its absence.
        """
        distinct, place = coalitions.to(self.inputs.device).unique(dim=0, return_inverse=True)
        found = averaged(
            self.fills,
            lambda fill: self.regions.outputs(
                self.model, self.inputs, self.targets, fill, distinct, output=self.output,
                memory=self.memory, layout=self.layout, explained=self.explained,
            ),
        )  # fmt: skip
        return found[:, place]

    def lay_out(self, values: Tensor) -> Tensor:
        """Maps of values (N, count), each at all features of its region, or at all of its numbers.

        Those of luminance and chroma are in the first channel and in the others.
        """
        # A region that an input does not have is never asked for.
        index = self.regions.index.flatten(1).expand(len(self.inputs), -1)
        found = values.gather(1, index).to(self.inputs.dtype)
        if self.regions.index.shape[1:] == self.layout.spatial:
            return self.layout.maps(found)
        return found.reshape(self.inputs.shape)

    def spread(self, values: Tensor) -> Tensor:
        """Maps of values (N, count), each spread evenly over its region, so that sums stay what they are."""
        index = self.regions.index.flatten(1)
        sizes = torch.zeros(len(index), self.count, dtype=values.dtype, device=values.device)
        sizes.scatter_add_(1, index, torch.ones_like(index, dtype=values.dtype))
        return self.lay_out(values / sizes.clamp_min(1))
