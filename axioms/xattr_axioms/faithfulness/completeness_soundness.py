"""Completeness and soundness of saliency maps."""

import torch

from xattr_check.core import Beats, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.units import By
from xattr_check.perturbation.curves import STEPS, area, ranked_outputs, shares
from xattr_check.perturbation.fills import Fill

# Probabilities below it are as good as none: what a label has before anything is shown, one of ten, is 0.05.
LEAST = 0.01


@axiom(
    statement="For every label, what its map shows first makes the model see it as much as the input does.",
    family="faithfulness",
    # On the digits the mask comes to 0.88, magnitudes (gradient, guided backpropagation) to 0.62 and more,
    # edges and the input's magnitude to 0.35, noise to 0.08. Signed maps, integrated gradients as gradcam,
    # are complete (0.94) and not sound (0.05): they find the few pixels that speak for a label which the
    # whole image speaks against. It is asked of those who promise it.
    gate=Beats(by=0.1),
    cites="gupta2022",
    reads="mean of completeness and soundness, the lesser of both over all labels",
    bounds=(0, 1),
    claimed=True,
    needs=("probability",),
    positive=("oracle",),
    cost="standard",
)
def completeness_soundness(
    method: Explainer,
    subject: Subject,
    draw: Draw,
    *,
    fill: Fill = "mean",
    by: By = "pixels",
    labels: int = 10,
    steps: int = STEPS,
) -> Measurement:
    """The least of α and β over the labels, for each input; of the ten likeliest, where there are more.

    With f the label's probability and g the area under its insertion curve, on the data's mean, by the map
    for that label: α = min(1, max(g, ε) / f), how complete the map is, and β = min(1, max(f, ε) / g), how
    sound; ε is 0.01.
    """
    with torch.no_grad():  # methods take no targets made in inference mode
        likelihood = subject.model(draw.inputs).double().scatter(1, draw.targets[:, None], torch.inf)
    places = shares(subject, by, steps)
    kept = [(0.0, share) for share in places]
    curves = torch.stack(
        [
            ranked_outputs(method, subject, draw, kept, fill=fill, by=by, targets=targets)
            for targets in likelihood.argsort(1, descending=True)[:, :labels].unbind(1)
        ],
        dim=1,
    )
    seen, shown = curves[:, :, -1], area(curves, places)
    complete = (shown.clamp_min(LEAST) / seen).clamp_max(1).amin(1)
    sound = (seen.clamp_min(LEAST) / shown).clamp_max(1).amin(1)
    return Measurement(
        complete.minimum(sound),
        f"completeness {float(complete.mean()):.2f}, soundness {float(sound.mean()):.2f}",
        evidence={"completeness": complete, "soundness": sound, "shown": shown, "seen": seen},
    )
