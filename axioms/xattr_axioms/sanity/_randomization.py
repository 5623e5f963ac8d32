"""Maps before and after the weights of a model are randomised, and how alike they are."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from xattr_check.core import Draw, Explainer, Lines, Subject
from xattr_check.networks.randomize import randomized
from xattr_check.statistics.similarity import (
    correlation,
    excess,
    oriented_gradients,
    spearman,
    ssim,
    unrelated,
)
from xattr_check.storage.digest import derive_seed

Similarity = Callable[[Tensor, Tensor], Tensor]
# Independently randomised networks in one draw, each explained on its share of the inputs.
NETWORKS = 2
# Inputs on which BatchNorm statistics are estimated anew.
ESTIMATE = 64


def signed_maps(method: Explainer, model: nn.Module, draw: Draw) -> Tensor:
    """(n, P) float64 maps of the draw's inputs for their targets, summed over channels."""
    return draw.subject.layout.scores(method(model, draw.inputs, draw.targets))


def randomised_maps(method: Explainer, names: list[str], draw: Draw, step: int = 0) -> Tensor:
    """(n, P) as `signed_maps`, of copies of the model in which the named modules are as before training.

    step: varies the weights.
    """
    subject = draw.subject

    def copy(share: int) -> nn.Module:
        seed = derive_seed(draw.seed, "weights", share, step)
        return randomized(subject.model, names, subject.inputs[:ESTIMATE], seed)

    shares = torch.arange(len(draw.inputs)).chunk(NETWORKS)
    maps = [method(copy(share), draw.inputs[rows], draw.targets[rows]) for share, rows in enumerate(shares)]
    return subject.layout.scores(torch.cat(maps))


def either_sign(first: Tensor, second: Tensor) -> Tensor:
    """(N,) rank correlation of signed maps (N, P), or of one and the other negated.

    A logit that changes its sign with the weights takes that of every relevance with it: the negative of a
    map is no other map, and both signs would cancel in a mean over networks.
    """
    return spearman(first, second).abs()


def likeness_above_chance(before: Tensor, after: Tensor, similarity: Similarity) -> Tensor:
    """(n,) how much of maps (n, …) is in those of another model, above what is in those of other inputs."""
    return excess(similarity(before, after), unrelated(before, after, similarity))


def curves(before: Tensor, steps: Iterator[Tensor], subject: Subject) -> dict[str, Tensor]:
    """(n, K) how alike maps (n, P) are to those of each of K steps, 0 being chance and 1 no change.

    Rank correlation of signed maps, up to their sign, and of magnitudes; of images of the magnitudes also
    structural similarity and correlation of histograms of oriented gradients. Chance is the similarity to the
    maps of other inputs in the same step, so that what all maps share, as coarse ones do, is not held against
    a method.
    """

    def images(maps: Tensor) -> Tensor:
        return maps.abs().reshape(-1, *subject.spatial)

    # What is compared of a map, and how.
    kinds: dict[str, tuple[Callable[[Tensor], Tensor], Similarity]] = {
        "spearman": (lambda maps: maps, either_sign),
        "spearman_magnitude": (Tensor.abs, spearman),
    }
    if subject.is_image:
        kinds["ssim"] = images, ssim
        kinds["hog"] = lambda maps: oriented_gradients(images(maps)), correlation
    first = {name: view(before) for name, (view, _) in kinds.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for after in steps:
        for name, (view, alike) in kinds.items():
            found[name].append(likeness_above_chance(first[name], view(after), alike))
    return {name: torch.stack(curve, dim=1) for name, curve in found.items()}


# What a measure of likeness is called.
CALLED = {
    "spearman": "rank correlation, signed",
    "spearman_magnitude": "rank correlation, magnitudes",
    "ssim": "structural similarity",
    "hog": "oriented gradients",
}


def draw_lines(groups: Sequence[Sequence[str]], found: dict[str, Tensor], across: str) -> Lines:
    """What `curves` found, along the groups of modules that were randomised, each named by its last one."""
    rows = {CALLED[name]: curve for name, curve in found.items()}
    return Lines(across, "likeness, 0 being chance", [group[-1] for group in groups], rows)
