"""What is told by the regions ranked highest, to one network that was trained on random masks."""

import torch
from torch import Tensor, nn

from xattr_axioms.retraining._retraining import least_accuracy, select_features
from xattr_check.core import Beats, Draw, Explainer, Lines, Measurement, Subject, Undefined, axiom
from xattr_check.core.ranges import Percentage
from xattr_check.core.run import Run
from xattr_check.core.units import Units
from xattr_check.networks.evaluator import evaluator
from xattr_check.networks.retrain import Retrainable, retrainable
from xattr_check.perturbation.fills import mean_fill
from xattr_check.perturbation.outputs import outputs_under, shared_masks

# Of the regions, how many are shown: with more, all rankings that find the object show it.
PERCENTAGES = (10, 20, 30)


@axiom(
    statement="Regions ranked highest tell a network trained on random masks more than those of controls do.",
    family="retraining",
    # With three seeds on the digits the true mask comes to 0.68 and more, occlusion and guided backprop
    # to 0.67, gradcam, gradients and integrated gradients to 0.63; edges come to 0.59 at most, a blob in the
    # centre to 0.32, noise to 0.19, a transposed gradcam to 0.32 and one with a wrong sign to 0.10. A map
    # that spells out the class, worth more than the mask in `kar`, comes to 0.21. Input × gradient is no
    # better than edges, and undecided. What is not told: magnitudes of what has a sign (0.72), and edges
    # times gradcam (0.70). On columns right maps come to 0.99, noise to 0.90, the other class to 0.35.
    gate=Beats(by=0.05),
    cites="jethani2021",
    reads="probability of the target given the regions ranked highest alone, mean over 10 to 30 % of them, "
    "over inputs and for the network of this run",
    bounds=(0, 1),
    needs=("recipe", "accuracy"),
    on=retrainable,
    presumes=("depends_on_input", "depends_on_model"),
    negative=("random", "center", "edges"),
    positive=("oracle",),
    # The network takes a minute or two, once for all methods.
    cost="full",
    inputs=100,
)
def eval_x(
    method: Explainer, subject: Subject, draw: Draw, *, percentages: tuple[Percentage, ...] = PERCENTAGES
) -> Measurement:
    """q(y | x, R), the mean over percentages for each input x: R the regions ranked highest, y the target.

    q is trained once, for all methods, on inputs of the recipe's pool of which random regions are replaced by
    the mean, so that it has seen inputs as these, and predicts the target from what is shown. Which regions
    are shown tells it nothing, since in training that was chance: a map that spells out the class by the
    place of its scores gains nothing, as it does in `kar`.

    Regions are ranked as in `roar`. percentages: of the regions, how many are shown.
    """
    if not isinstance(subject, Retrainable):
        raise Undefined("needs a pool to train a network on")
    network, fill, units = _judge(subject, draw.run)
    scores = method.scores(subject.model, draw.inputs, draw.targets)
    shown = select_features(scores, units.index.flatten(), draw.generator("ties"), percentages, best=True)
    keep = shown.unflatten(-1, subject.spatial)
    known = outputs_under(
        network, draw.inputs, draw.targets, fill.expand_as(draw.inputs),
        lambda rows, columns: keep[columns, rows], len(percentages), output="probability",
        memory=draw.run.memory, layout=subject.layout, explained=subject.output,
    )  # fmt: skip
    lines = Lines("per cent shown", subject.pool.output.noun, percentages, {"": known})
    evidence = {"percentage": torch.tensor(percentages), "curve": known}
    return Measurement(known.mean(1), evidence=evidence, lines=lines)


def _judge(subject: Retrainable, run: Run) -> tuple[nn.Module, Tensor, Units]:
    """The network that judges, what stands for a region that is not shown (*F), and the regions.

    Raises Undefined where the network knows too little of whole inputs.
    """
    units, fill = Units.of(subject, "regions"), mean_fill(subject, subject.inputs[:1])[0]
    network = evaluator(subject, units, fill, run)

    def compute() -> float:
        everything = torch.ones(1, *subject.spatial, dtype=torch.bool, device=subject.inputs.device)
        correct = outputs_under(
            network, subject.inputs, subject.targets, subject.inputs, shared_masks(everything), 1,
            output="correct", memory=run.memory, layout=subject.layout, explained=subject.output,
        )  # fmt: skip
        return float(correct.mean())

    accuracy = run.once(f"accuracy of the evaluator, {subject.fingerprint}", compute)
    least = least_accuracy(subject)
    if accuracy < least:
        raise Undefined(
            f"a network trained on masked inputs is right on {accuracy:.2f} of them whole, and should be on "
            f"{least:.2f}: give the subject's recipe more epochs or a larger pool"
        )
    return network, fill, units
