"""Changes of a model's output when random sets of features are removed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject
from xattr_check.core.units import Units
from xattr_check.errors import Undefined
from xattr_check.perturbation.fills import Fill, absent
from xattr_check.perturbation.outputs import outputs_under
from xattr_check.storage.digest import digest


def random_subsets(count: int, size: int, units: int, generator: torch.Generator) -> Tensor:
    """(count, units) bool: subsets of that size, uniformly at random."""
    chosen = torch.rand(count, units, generator=generator).topk(size, dim=1, sorted=False).indices
    return torch.zeros(count, units, dtype=torch.bool).scatter_(1, chosen, True)


def subsets_of(draw: Draw, units: Units, sizes: Sequence[int], count: int) -> Tensor:
    """Bool, so many random sets of each size: (K, units) for all inputs, or (n, K, units).

    Where inputs have padding it is in no set, each input has sets of its own, and sizes are of as large a
    share of its units.
    """
    valid = units.valid(draw)
    if valid is None:
        drawn = [random_subsets(count, size, units.count, draw.generator("subsets", size)) for size in sizes]
        return torch.cat(drawn)
    found = []
    for row, among in zip(draw.indices.tolist(), valid.cpu(), strict=True):
        streams = {size: draw.generator("subsets", size, row) for size in sizes}
        drawn = [random_subsets_among(among, n / units.count, count, stream) for n, stream in streams.items()]
        found.append(torch.cat(drawn))
    return torch.stack(found)


def random_subsets_among(valid: Tensor, share: float, count: int, generator: torch.Generator) -> Tensor:
    """(count, units) bool: subsets of those valid (units,), as large a share of them, one at least."""
    places = valid.nonzero().flatten()
    size = min(len(places), max(1, round(len(places) * share)))
    found = torch.zeros(count, len(valid), dtype=torch.bool)
    found[:, places] = random_subsets(count, size, len(places), generator)
    return found


def sums_over(by_unit: Tensor, removed: Tensor) -> Tensor:
    """(n, K): sums of scores (n, units) over sets (K, units), or (n, K, units) of each input."""
    sets = removed.to(by_unit)
    return by_unit @ sets.T if sets.ndim == 2 else torch.einsum("np,nkp->nk", by_unit, sets)


def output_changes(subject: Subject, draw: Draw, units: Units, removed: Tensor, fill: Fill) -> Tensor:
    """(n, K) float64: the target's logit for each input less that without the units of each set.

    removed: bool, (K, units) for all inputs, or (n, K, units) for each of its own. fill: what stands there.

    They depend on the model and the sets alone: computed once for all methods, runs and workers.
    Raises Undefined where the output never changes.
    """

    def compute() -> dict[str, Tensor]:
        sets = removed.to(draw.inputs.device)
        whole = torch.zeros_like(sets[..., :1, :])
        sets = torch.cat([whole, sets], dim=-2)

        def mask_of(rows: Tensor, columns: Tensor) -> Tensor:
            return ~units.spread(sets[columns] if sets.ndim == 2 else sets[rows, columns])

        outputs = outputs_under(
            subject.model, draw.inputs, draw.targets, absent(fill, subject, draw), mask_of, sets.shape[-2],
            output="logit", memory=draw.run.memory, layout=subject.layout,
        )  # fmt: skip
        return {"changes": outputs[:, :1] - outputs[:, 1:]}

    sets = {"removed": digest(removed), "units": digest(units.index), "fill": fill}
    change = draw.shared("output changes", compute, **sets)["changes"]
    if bool((change == change[:, :1]).all()):
        raise Undefined("the model's output is the same whichever regions are removed")
    return change


def same_everywhere(scores: Tensor) -> str:
    """For how many inputs the scores (n, units) tell no unit from another, in words, or an empty string."""
    flat = int((scores == scores[:, :1]).all(1).sum())
    if not flat:
        return ""
    return f"the attribution is the same in all regions for {flat} of {len(scores)} inputs, counted as 0"
