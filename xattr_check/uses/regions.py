"""Shares of the variance of a network's output, by regions whose gains are drawn."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xattr_check.core.context import rows
from xattr_check.core.state import full_precision
from xattr_check.core.subject import Subject
from xattr_check.imports import neutral_warnings
from xattr_check.perturbation.named_regions import regions_by_name
from xattr_check.perturbation.regions import SemanticMap
from xattr_check.statistics.paired import Figure
from xattr_check.statistics.sobol import bootstrap, saltelli, sobol_indices

with neutral_warnings():
    from scipy.special import ndtri

# From absent to twice the contrast of the input, as in [sbsa2022].
GAIN = 2.0
# Regions whose ratio is asked for, of those of an input.
TOP = 0.2
RESAMPLES = 200
LEVEL = 0.95
# What the two regions of a name are called, in their order.
PAIRS = {"mask": ("background", "foreground"), "colour": ("luminance", "chroma")}


@dataclass(frozen=True, eq=False)
class Ratios:
    """How much of what regions make each makes by itself: S₁/S_T, the primary index ratio of [sbsa2022].

    regions: what was asked for. count: of an input. forwards: for an input.
    top: mean of the ratio over the fifth of the regions with the largest S_T.
    above: share of the regions with a ratio above 1, those without any S_T left out. noise: the share that
        would be, had every region the ratio of all together, from the errors of the estimates alone.
    beyond: share of the regions whose interval, of 95 %, is above 1 as a whole: 2.5 % by chance at most where
        samples are many, since S₁ is never above S_T where gains are independent.
    """

    regions: str
    count: int
    forwards: int
    top: Figure
    above: Figure
    noise: Figure
    beyond: Figure


@dataclass(frozen=True, eq=False)
class Pair:
    """What two regions make, alone and together.

    regions: what was asked for. names: of both. forwards: for an input.
    first, total: S₁ and S_T of each. together: S₁₂. gap: S_T of the second less that of the first.
    """

    regions: str
    names: tuple[str, str]
    forwards: int
    first: tuple[Figure, Figure]
    total: tuple[Figure, Figure]
    together: Figure
    gap: Figure

    @property
    def ratios(self) -> tuple[Figure, Figure]:
        """S₁/S_T of each, both summed over the inputs."""
        one, other = (
            Figure(first.parts, total.parts) for first, total in zip(self.first, self.total, strict=True)
        )
        return one, other


@dataclass(frozen=True, eq=False)
class Asked:
    """Inputs of a subject whose regions are looked at.

    index: (n,) int64, which of the subject's inputs. samples: of a design. memory: bytes of a chunk.
    """

    subject: Subject
    index: Tensor
    samples: int
    seed: int
    memory: int

    def regions(self, spec: str) -> SemanticMap:
        """Those of the inputs that a spec asks for. Raises Declined, or ValueError for a wrong one."""
        subject = self.subject
        inputs = subject.inputs[self.index.to(subject.inputs.device)]
        with rows(self.index):
            return regions_by_name(spec, inputs, subject.layout, subject=subject)

    def outputs(self, network: nn.Module, regions: SemanticMap, watch: Callable[[], None]) -> Tensor:
        """(n, samples · (count + 2)) float64, what the network makes of its inputs where regions fade.

        At gains of Saltelli's design, for each input one of its own, so that the errors of one say nothing of
        those of another. What is explained is the network's own answer where outputs exclude one another,
        else the subject's target. watch: called after each input.
        """
        found = []
        for place in range(len(self.index)):
            design = saltelli(regions.count, self.samples, self.seed + place)
            found.append(self.answers(network, regions, place)(design)[None])
            watch()
        return torch.cat(found).cpu()

    def answers(self, network: nn.Module, regions: SemanticMap, place: int) -> Callable[[Tensor], Tensor]:
        """What the network makes of one of the inputs: of a design (K, count) in 0…1, (K,) float64.

        regions: of all the inputs, or of each. What is explained is as of `outputs`.
        """
        subject, one = self.subject, self.index[place : place + 1]
        inputs = subject.own_inputs(network, subject.inputs[one.to(subject.inputs.device)], one)
        alone = len(regions.index) == 1
        own = regions if alone else replace(regions, index=regions.index[place : place + 1])
        with rows(one), full_precision(inputs.device):
            targets = self._targets(network, inputs, one)
            absent = subject.without_words(inputs, one, network)

        def outputs(design: Tensor) -> Tensor:
            with rows(one), full_precision(inputs.device):
                return own.outputs(
                    network, inputs, targets, absent, GAIN * design, output="logit", memory=self.memory,
                    layout=subject.layout,
                )[0]  # fmt: skip

        return outputs

    def _targets(self, network: nn.Module, inputs: Tensor, index: Tensor) -> Tensor:
        """(1,) the output that is explained."""
        targets = self.subject.targets[index.to(self.subject.targets.device)]
        if "accuracy" not in self.subject.output.offers:
            return targets
        with torch.no_grad():
            answer: Tensor = network(inputs).argmax(1)
        return answer


def ratios(spec: str, count: int, outputs: Tensor) -> Ratios:
    """What outputs (n, K) on Saltelli's design say of so many regions."""
    found = sobol_indices(outputs, count)
    known = found.total > 0
    errors = torch.cat([_errors(one, count) for one in outputs.split(1)])
    pooled = float(found.first.sum() / found.total.sum()) if bool(known.any()) else 0.0
    short = (1 - min(pooled, 1.0)) * found.total  # by how much S₁ would be below S_T
    excess = found.first - found.total
    wide = float(ndtri(0.5 + LEVEL / 2)) * errors
    best = found.total.argsort(dim=1, descending=True)[:, : max(1, round(TOP * count))]
    return Ratios(
        regions=spec,
        count=count,
        forwards=outputs.shape[1],
        top=Figure.mean(found.ratio.gather(1, best).nanmean(1)),
        above=_share(excess > 0, known),
        noise=_share(torch.special.ndtr(-short / errors.clamp_min(1e-300)), known),
        beyond=_share(excess > wide, known),
    )


def pair(spec: str, outputs: Tensor) -> Pair:
    """What outputs (n, K) on Saltelli's design say of two regions."""
    found = sobol_indices(outputs, 2)
    silent = (found.total == 0).all(1, keepdim=True)  # the output never changes

    def both(index: Tensor) -> tuple[Figure, Figure]:
        one, other = index.where(~silent, torch.nan).unbind(1)
        return Figure.mean(one), Figure.mean(other)

    # S_T − S₁ is the same of both where there are two, but for errors.
    together = (found.total - found.first).mean(1, keepdim=True)
    gap = found.total[:, 1:] - found.total[:, :1]
    return Pair(
        regions=spec,
        names=PAIRS[spec],
        forwards=outputs.shape[1],
        first=both(found.first),
        total=both(found.total),
        together=Figure.mean(together.where(~silent, torch.nan)[:, 0]),
        gap=Figure.mean(gap.where(~silent, torch.nan)[:, 0]),
    )


def _errors(outputs: Tensor, count: int) -> Tensor:
    """(1, count) the standard error of S₁ − S_T of one output (1, K)."""
    weights = bootstrap(outputs.shape[1] // (count + 2), RESAMPLES, torch.Generator().manual_seed(0))
    again = sobol_indices(outputs, count, weights)
    return (again.first - again.total).std(0)


def _share(values: Tensor, known: Tensor) -> Figure:
    """The mean of values (n, D) over regions of all inputs, those that are known."""
    return Figure((values.double() * known).sum(1), known.double().sum(1))
