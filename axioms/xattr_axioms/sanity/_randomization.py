"""Maps before and after the weights of a model are randomised, and how alike they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from xattr_check.core import Draw, Explainer, Lines, Measurement, Subject, Within
from xattr_check.core.context import chosen, first_rows
from xattr_check.networks.layers import Layer, copied, weights_of
from xattr_check.networks.randomize import randomized
from xattr_check.statistics.similarity import (
    correlation,
    excess,
    oriented_gradients,
    ranks,
    spearman,
    ssim,
    unrelated,
)
from xattr_check.storage.digest import derive_seed

Similarity = Callable[[Tensor, Tensor], Tensor]
# Independently randomised networks in one draw, each explained on its share of the inputs: few inputs each,
# since those of one network go together, and a row is a network.
NETWORKS = 8
# Inputs on which BatchNorm statistics are estimated anew.
ESTIMATE = 32
# Copies of a network of at most so many bytes are kept, since its controls and other methods take the same.
KEPT = 2**20
# By how much of itself each weight varies in a network that is as good as the same.
VARIATION = 1e-3
# Below this likeness to the maps of such a network, maps are noise. On eight subjects right methods came to
# 0.98 and more.
LEAST_RELIABILITY = 0.5
# Signed sums below this share of the magnitudes are rounding.
CANCELLED = 1e-4
# What depends on the outputs of a model alone, nearby and far away: how alike its maps stay is how much two
# networks have in common, which differs by architecture, task and step. Against the larger of the two on
# the same networks, seed 0: input × gradient, integrated gradients, deeplift, gradcam and lrp with the ε
# rule came to 0.06 above it at most, on seven subjects. Guided backpropagation came to 0.46 to 0.61 above
# it on deep networks, to 0.28 on `digits` and to 0.10 to 0.18 on tables, where three layers leave it little
# to get wrong; deep Taylor to 0.26 and more on all but two classes of images, excitation backpropagation to
# 0.33 and more; lrp with z⁺ for convolutions to 0.5 and more on deep networks.
NEAR = Within(0.15, of=("gradient", "occlusion"), lower=True)


def maps_of(method: Explainer, model: nn.Module, draw: Draw, rows: Tensor | None = None) -> Tensor:
    """(2, n, P) float64 maps of the draw's inputs, or of some of its rows: with their signs, and magnitudes.

    For their targets, summed over channels; magnitudes before that where the method's sign is a direction. On
    padding they are NaN, which counts in no correlation.
    """
    some = torch.arange(len(draw.inputs)) if rows is None else rows
    asked = model, draw.inputs[some], draw.targets[some]
    with chosen(some):
        found = torch.stack([method.signed(*asked), method.scores(*asked).abs()])
    return found if draw.valid is None else found.masked_fill(~draw.valid[some], torch.nan)


def shares(draw: Draw) -> Sequence[Tensor]:
    """Rows of the draw's inputs, those of each network."""
    return torch.arange(len(draw.inputs)).chunk(NETWORKS)


def by_network(values: Tensor, draw: Draw) -> Tensor:
    """(networks, …) means of values (n, …) over the inputs of each network: they are no independent rows."""
    return torch.stack([values[rows].mean(0) for rows in shares(draw)])


def maps_by_network(method: Explainer, draw: Draw, network: Callable[[int], nn.Module]) -> Tensor:
    """(2, n, P) as `maps_of`, of networks by their number, each for its share of the inputs.

    Small networks are made once in a run.
    """

    def kept(share: int) -> nn.Module:
        if sum(weight.nbytes for weight in draw.subject.model.parameters()) > KEPT:
            return network(share)
        key = f"{network} {share} {draw.subject.fingerprint} {draw.seed}"
        found: nn.Module = draw.run.once(key, partial(network, share))
        return found

    maps = [maps_of(method, kept(share), draw, rows) for share, rows in enumerate(shares(draw))]
    return torch.cat(maps, dim=1)


@dataclass(frozen=True)
class Randomised:
    """Copies of the draw's model in which the chosen layers are as before training.

    step: varies the weights.
    """

    draw: Draw = field(repr=False)
    chosen: Sequence[Layer]
    step: int = 0

    def __call__(self, share: int) -> nn.Module:
        """The copy of that number."""
        subject = self.draw.subject
        seed = derive_seed(self.draw.seed, "weights", share, self.step)
        inputs = subject.inputs[:ESTIMATE]
        with first_rows(len(inputs)):
            return randomized(subject.model, self.chosen, inputs, seed)


@dataclass(frozen=True)
class Varied:
    """Copies of the draw's model whose weights vary by a thousandth, and so with nearly the same outputs."""

    draw: Draw = field(repr=False)

    def __call__(self, share: int) -> nn.Module:
        """The copy of that number."""
        model, generator = copied(self.draw.subject.model), self.draw.generator("variation", share)
        with torch.no_grad():
            for weight in weights_of(model).values():
                if weight.is_floating_point():
                    factors = 1 + VARIATION * torch.randn(weight.shape, generator=generator)
                    weight.copy_(weight * factors.to(weight))
        return model


def likeness_above_chance(before: Tensor, after: Tensor, similarity: Similarity) -> Tensor:
    """(n,) how much of maps (n, …) is in those of another model, above what is in those of other inputs."""
    return excess(similarity(before, after), unrelated(before, after, similarity))


def reading(method: Explainer) -> str:
    """Which of `curves` judges a method: that of what other checks read of its maps."""
    return "spearman_magnitude" if method.method.sensitivity else "spearman"


def without_noise(likeness: Tensor, method: Explainer, before: Tensor, draw: Draw) -> Tensor:
    """Likeness (N,) of a method's maps (2, n, P) to other ones, as it were if they had no noise in them.

    Noise that follows from the weights makes any two maps unlike, whatever else they show. How much of it
    there is shows in a network that is as good as the same: Spearman's correction for attenuation, where
    both maps are equally noisy. Maps that are nothing but noise there, with or without their signs, tell no
    networks apart: 1.
    """
    after = maps_by_network(method, draw, Varied(draw))
    reliabilities = {
        name: float(likeness_above_chance(one, other, spearman).mean())
        for name, one, other in zip(RANKS, before, after, strict=True)
    }
    read = {reading(method)} if _cancel(before) else {"spearman", reading(method)}
    if min(reliabilities[name] for name in read) < LEAST_RELIABILITY:
        return torch.ones_like(likeness)
    return (likeness / reliabilities[reading(method)]).clamp(max=1)


def _cancel(maps: Tensor) -> bool:
    """Whether signed maps, of (2, n, P) with magnitudes, are what rounding leaves of numbers that cancel.

    The sum over an embedding of the gradient behind a LayerNorm is: nothing, of which noise says nothing.
    """
    signed, magnitudes = (float(one.nan_to_num().norm()) for one in maps)
    return signed <= CANCELLED * magnitudes


def curves(before: Tensor, steps: Iterator[Tensor], subject: Subject) -> dict[str, Tensor]:
    """(n, K) how alike maps (2, n, P) are to those of each of K steps, 0 being chance and 1 no change.

    Rank correlation of signed maps, up to their sign, and of magnitudes; of images of the magnitudes also
    structural similarity and correlation of histograms of oriented gradients. Chance is the similarity to the
    maps of other inputs in the same step, so that what all maps share, as coarse ones do, is not held against
    a method.
    """
    # Each map is ranked once, and not for each comparison, unless there is padding: ranks are then those of
    # what both maps have.
    padded = bool(before.isnan().any())
    ranked, alike = (torch.Tensor.double, spearman) if padded else (ranks, correlation)

    def either_sign(first: Tensor, second: Tensor) -> Tensor:
        """(N,) of signed maps, or of one and the other negated.

        A logit that changes its sign with the weights takes that of every relevance with it: the negative of
        a map is no other map, and both signs would cancel in a mean over networks.
        """
        return alike(first, second).abs()

    def images(maps: Tensor) -> Tensor:
        return maps[0].abs().reshape(-1, *subject.spatial)

    # What is compared of a map, and how.
    kinds: dict[str, tuple[Callable[[Tensor], Tensor], Similarity]] = {
        "spearman": (lambda maps: ranked(maps[0]), either_sign),
        "spearman_magnitude": (lambda maps: ranked(maps[1]), alike),
    }
    if subject.layout.name == "image":  # both compare pictures
        kinds["ssim"] = images, ssim
        kinds["hog"] = lambda maps: oriented_gradients(images(maps)), correlation
    first = {name: view(before) for name, (view, _) in kinds.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for after in steps:
        for name, (view, similarity) in kinds.items():
            found[name].append(likeness_above_chance(first[name], view(after), similarity))
    return {name: torch.stack(curve, dim=1) for name, curve in found.items()}


def along_cascade(
    method: Explainer,
    groups: Sequence[Sequence[Layer]],
    steps: Sequence[Sequence[Layer]],
    draw: Draw,
    across: str,
) -> Measurement:
    """Likeness to maps of models whose layers are randomised in these steps, by network, without noise.

    groups: what is new in each step, for the axis of its figure.
    """
    before = maps_of(method, draw.subject.model, draw)
    after = (
        maps_by_network(method, draw, Randomised(draw, chosen, step)) for step, chosen in enumerate(steps)
    )
    evidence = {name: by_network(curve, draw) for name, curve in curves(before, after, draw.subject).items()}
    likeness = without_noise(evidence[reading(method)].mean(1), method, before, draw)
    labels = [group[-1].name for group in groups]
    lines = Lines(across, "likeness, 0 being chance", labels, {CALLED[k]: v for k, v in evidence.items()})
    return Measurement(likeness, evidence=evidence, lines=lines)


# The two of them that stand for what `maps_of` gives.
RANKS = ("spearman", "spearman_magnitude")
# What a measure of likeness is called.
CALLED = {
    "spearman": "rank correlation, signed",
    "spearman_magnitude": "rank correlation, magnitudes",
    "ssim": "structural similarity",
    "hog": "oriented gradients",
}
