"""Sensitivity-n."""

import torch
from torch import Tensor

from xattr_check.axiom import Measurement, Undefined, axiom
from xattr_check.explainer import Explainer
from xattr_check.fills import mean_fill
from xattr_check.gate import Beats
from xattr_check.perturb import outputs_under, shared_masks
from xattr_check.run import Draw
from xattr_check.similarity import correlation
from xattr_check.subject import Subject

SUBSETS = 64
# Cells on a side where the subject has no regions of its own: single random pixels say nothing at large n.
CELLS = 8


def region_members(subject: Subject) -> Tensor:
    """(R, *spatial) bool: which features each region holds; a grid for images, single columns otherwise."""
    regions = subject.regions
    if regions is None and subject.is_image:
        rows, columns = (torch.arange(side) * min(CELLS, side) // side for side in subject.spatial)
        regions = rows[:, None] * CELLS + columns[None, :]
    elif regions is None:
        regions = torch.arange(subject.spatial[0])
    names = regions.unique()
    members: Tensor = regions == names.reshape(-1, *[1] * regions.ndim)
    return members.to(subject.inputs.device)


def random_subsets(count: int, size: int, regions: int, generator: torch.Generator) -> Tensor:
    """(count, regions) bool: subsets of that size, uniformly at random."""
    order = torch.rand(count, regions, generator=generator).argsort(1)
    return torch.zeros(count, regions, dtype=torch.bool).scatter_(1, order[:, :size], True)


@axiom(
    statement="The attribution of a set of regions goes with the change of the output without them.",
    family="faithfulness",
    # On the digits edges come to 0.54, a blob in the centre to 0.21 and noise to 0; integrated gradients to
    # 0.84, occlusion to 0.79, gradcam to 0.65; a shifted or transposed map to 0.2. The margin has to tell a
    # detector of edges of another kind, such as the first layer's activations at 0.46, from an explanation.
    gate=Beats(by=0.05),
    cites="ancona2018",
    reads="mean correlation of attribution sums with output changes over random sets of regions",
    bounds=(-1, 1),
    positive=("oracle",),
)
def sensitivity_n(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Pearson correlation over subsets of n regions, for each input, averaged over log-spaced n."""
    members = region_members(subject)
    count = len(members)
    if count < 4:
        raise Undefined(f"needs at least 4 regions, this subject has {count}")
    sizes = sorted({max(1, round(count * share)) for share in (1 / 32, 1 / 8, 1 / 3)})
    subsets = torch.cat(
        [random_subsets(SUBSETS, size, count, draw.generator("subsets", size)) for size in sizes]
    ).to(members.device)

    def changes() -> dict[str, Tensor]:
        removed = (subsets.float() @ members.flatten(1).float()).bool().reshape(-1, *subject.spatial)
        keep = torch.cat([torch.ones_like(removed[:1]), ~removed])
        outputs = outputs_under(
            subject.model, draw.inputs, draw.targets, mean_fill(subject, draw.inputs), shared_masks(keep),
            len(keep), output="logit", memory=draw.run.memory,
        )  # fmt: skip
        return {"changes": outputs[:, :1] - outputs[:, 1:]}

    # They depend on the model and the subsets alone: computed once for all methods.
    change = draw.shared("sensitivity_n", changes, subsets=SUBSETS, sizes=sizes)["changes"]
    if bool((change == change[:, :1]).all()):
        raise Undefined("the model's output is the same whichever regions are removed")
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    by_region = scores @ members.flatten(1).double().T
    sums = by_region @ subsets.double().T
    rows = torch.stack(
        [
            # An output that never changes agrees with nothing, not even with attributions that never do.
            torch.where((two == two[:, :1]).all(1), 0.0, correlation(one, two))
            for one, two in zip(sums.split(SUBSETS, 1), change.split(SUBSETS, 1), strict=True)
        ],
        dim=1,
    )
    flat = int((by_region == by_region[:, :1]).all(1).sum())
    finding = (
        f"the attribution is the same in all regions for {flat} of {len(scores)} inputs, counted as 0"
        if flat
        else ""
    )
    return Measurement(rows.mean(1), finding, evidence={"correlation_by_n": rows, "n": torch.tensor(sizes)})
