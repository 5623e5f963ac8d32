"""Changes of a model's output when random sets of features are removed."""

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
