"""Parameter randomisation, cascading."""

import torch
from torch import Tensor

from xattr_check.axiom import Measurement, Undefined, axiom
from xattr_check.digest import derive_seed
from xattr_check.explainer import Explainer
from xattr_check.gate import AtMost
from xattr_check.perturb import feature_scores
from xattr_check.randomize import cascade, randomized
from xattr_check.run import Draw
from xattr_check.similarity import excess, spearman, ssim, unrelated
from xattr_check.subject import Subject

# Independently randomised networks in one draw, each explained on its share of the inputs.
NETWORKS = 2
# Inputs on which BatchNorm statistics are estimated anew.
ESTIMATE = 64


@axiom(
    statement="The map becomes another one when the model's weights are randomised, from the output down.",
    family="sanity",
    # Signed maps are compared, because the magnitude of any gradient stays on the object while the network
    # is shallow. On the digits, methods that pass in the literature come to 0.12 at most (to 0.34 where
    # they return magnitudes), guided backpropagation to 0.67 (0.60), and a map without a model to 1.
    gate=AtMost(0.5),
    cites="adebayo2018",
    reads="rank correlation with maps of randomised models, above that of unrelated inputs",
    bounds=(-1, 1),
    negative=("random", "edges", "input_magnitude"),
)
def parameter_randomization(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Spearman correlation of signed maps before and after, averaged over the steps of the cascade.

    0 is the similarity of maps of unrelated inputs, so that coarse maps are not punished; 1 is no change.
    The explained class stays the same. The curves over the steps, of |map| and of SSIM too, are evidence.
    """
    groups = cascade(subject.model, draw.inputs)
    if not groups:
        raise Undefined("the model has no parameters to randomise")
    before = feature_scores(method(subject.model, draw.inputs, draw.targets), subject.spatial)
    curves: dict[str, list[Tensor]] = {"spearman": [], "spearman_magnitude": [], "ssim": []}
    names: list[str] = []
    for step, group in enumerate(groups):
        names = names + group
        after = torch.cat(
            [
                feature_scores(
                    method(
                        randomized(
                            subject.model,
                            names,
                            subject.inputs[:ESTIMATE],
                            derive_seed(draw.seed, "weights", share, step),
                        ),
                        draw.inputs[rows],
                        draw.targets[rows],
                    ),
                    subject.spatial,
                )
                for share, rows in enumerate(torch.arange(len(before)).chunk(NETWORKS))
            ]
        )
        curves["spearman"].append(excess(spearman(before, after), unrelated(before, spearman)))
        curves["spearman_magnitude"].append(
            excess(spearman(before.abs(), after.abs()), unrelated(before.abs(), spearman))
        )
        if subject.is_image:
            images = [maps.abs().reshape(-1, *subject.spatial) for maps in (before, after)]
            curves["ssim"].append(excess(ssim(images[0], images[1]), unrelated(images[0], ssim)))
    evidence = {name: torch.stack(curve, dim=1) for name, curve in curves.items() if curve}
    return Measurement(evidence["spearman"].mean(1), evidence=evidence)
