"""Writes docs/verdicts.md: all reference methods and controls on the digits, on three seeds.

    python benchmarks/verdicts.py [--seeds 0,1,2] [--checks EXPR] [--write docs/verdicts.md]

With --checks, the sections of the others stay as they are. An hour on one core for all. Checks of the quick
budget are judged at that, the others at the standard one, but for those that retrain: docs/retraining.md.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import xattr_check
from xattr_check import Axiom, Verdict, load_subject, run_battery
from xattr_check.config.selection import select
from xattr_check.report.table import summary

Table = Mapping[tuple[str, int], Mapping[str, Verdict]]

GOOD = (
    "gradient", "input_x_gradient", "smoothgrad", "integrated_gradients", "gradcam", "occlusion",
    "guided_backprop",
)  # fmt: skip
CONTROLS = ("random", "edges", "input_magnitude", "center", "constant", "oracle")

HEADER = """
# Verdicts on the digits

<!-- Written by benchmarks/verdicts.py. -->
Some reference methods, then the controls, on the subject `digits`, on three seeds: the statistic, its
confidence interval, the verdict. Checks of the quick budget are judged at that, the others at the standard
one; those that retrain are in [retraining.md](retraining.md). `random` to `constant` are negative controls,
which no check may reward; `oracle` knows where the digit is, and no model. Sampling stops when the verdict is
clear, so the clearest cases have wide intervals.
"""
CONTRACT = """
The controls fail where they have to: none of them depends on the model or on the target, and `center` and
`constant` do not depend on the input either.
"""

# How to read the figures of each check, for someone who knows the papers.
READINGS = {
    "null_feature": """
Two patches are made with the network itself: one makes the target, one makes another class and never changes
the target's logit, whether or not the first is there. Chance is ½. gradcam and occlusion leave the null
feature out; whatever multiplies gradients through all layers does not, though the signed sum of
integrated_gradients on it is about zero, as its completeness asks: what is judged is the map that people look
at. The order is that of Table 1 of [khakzar2022].
""",
    "class_sensitivity_double": """
Two patches, each making a class of its own and null for the other's logit; the map is asked for both classes.
1 is the same map twice, which is what all controls return. Maps of gradients show both patches for either
class. This is the check that a wrong class does not survive: on the digits' own images, with one object each,
LayerCAM of the wrong class looks right. Sampling noise is not what fails Shapley values and their kin: from
8, 32 and 128 permutations they come to 0.32, 0.30 and 0.29, LIME from 250 and 2000 samples to 0.34 and 0.31,
KernelSHAP from 512 and 4096 to 0.33 and 0.29, and deeplift, which samples nothing, to 0.34.
""",
    "class_sensitivity_single": """
One patch that makes a class, and the map for another class on which it has no effect: does a patch that gets
much for the one get much for the other? A correlation over samples needs many of them: intervals are wide.
""",
    "saturation": """
Two patches side by side, either of which has the effect of both. What attributes to everything shares it
fairly, so a method that fails null_feature is not judged (not applicable). gradcam and occlusion give most to
one of the two, which of them varies; a map that keeps one place alone is at 0.04 and fails.
""",
    "completeness": """
Gates only methods that claim it, here integrated_gradients, whose 50 points leave a gap well below 1 %.
Differences of two inputs are compared, so that no baseline has to be known; a method that is off by a factor
of two is at a third, one that has nothing to do with the output at 0.6 to 1.
""",
    "parameter_randomization": """
Signed maps are compared. Their magnitudes tell less: in a network this shallow the magnitude of any
gradient stays on the digit, whatever the weights, while the papers' networks are many times deeper (columns
`magnitude` and `SSIM` of the second table). guided_backprop is caught where the cascade begins: with a
random classifier, and then a random last stage, its map is nearly the one from before. 0 is the similarity
to maps of other inputs in the same randomised network, so that gradcam and occlusion are not punished for
being coarse. A map and its negative are the same: where the weights change the sign of a logit, relevances
change theirs with it. The controls do not look at the model and are at 1. [published.md](published.md) has
the methods that fail in the literature, and a deeper network.
""",
    "parameter_randomization_independent": """
As the cascade, with one group of layers random and the others as trained.
""",
    "retrained": """
Magnitudes are compared. What no model has a part in is as alike for random weights as for trained ones: 0.
""",
    "degradation": """
Between deletion and insertion, and of one mind with both.
""",
    "top_bottom_masking": """
Two points of the curves of degradation. All methods are alike here: a fifth of the pixels holds the digit.
""",
    "infidelity": """
A gradient foretells what a small change does, and not what a square replaced does; input_x_gradient neither.
Both are no better than edges here, and fail. It is so with the published definition, up to its factor.
""",
    "road": """
input_x_gradient removes scattered pixels, and those around tell them: 0.1 better than the blob, which is the
margin, after all inputs of the subject.
""",
    "faithfulness_correlation": """
For single pixels, which favours what measures single pixels.
""",
    "dead_neurons": """
The controls pass, since no model is asked. Of the reference methods deconvnet breaks it.
""",
    "dummy": """
Half of the image is cut off from the network. gradcam and occlusion spill over the border of that half.
""",
    "implementation_invariance": """
A network beside the model, added and subtracted again in another way, changes the map of guided_backprop for
every input, since it rectifies what comes back through one way otherwise than through the other.
""",
    "input_shift_invariance": """
What multiplies by the input, or compares with a fixed grey, sees the shift; a gradient does not.
""",
    "sensitivity": """
Where the output differs in one feature alone, the gradient at the input in question may be zero. What samples
or integrates between two inputs is not; smoothgrad's noise is not wide enough for some pairs.
""",
    "effective_heat_ratio": """
Methods that draw the digit are ahead: it is a question of where, not of what for.
""",
    "iou": """
input_x_gradient is scattered, and better than edges by little more than the margin: open on all seeds.
""",
    "pointing_game": """
Nearly every method hits, and edges in four of five: the weakest of the checks of this family.
""",
    "model_contrast": """
A share of the evidence on the object, for the model that names it less that for the scene's. The oracle asks
no model, and gets nothing.
""",
    "input_dependence": """
Chance is one half. guided_backprop is the one reference method near the gate, and open on two seeds of three:
what it shows of a scene is what is drawn there. The oracle knows no truth about scenes.
""",
    "input_independence": """
½ is what a change without effect comes to where it counts like any other. gradcam is held to it, and so is
deeplift. The oracle knows no truth about perturbed inputs.
""",
    "data_randomization": """
A network that has memorised permuted labels sees the same digits and has other uses for them. The signs of
most maps change altogether; those of guided_backprop change less, but too much for this check to catch it:
both networks were trained, and it shows what they have in common. So it is with deep Taylor (0.38) and
excitation backpropagation (0.44). The cascade is the sharper of the two tests.
""",
    "insertion": """
Area under the target's probability, higher is better. A gradient, smoothgrad and guided_backprop are ranked
by magnitude: digits are drawn light or dark at random, so the sign of a gradient says which way brightness
moves the logit, not where the evidence is. edges is the strongest rival because a digit has edges; the
oracle knows the digit's pixels. guided_backprop is as good as the oracle, since it draws the digit:
faithful to the input's edges that matter, and still not to the weights, which is why there are sanity
checks.
""",
    "deletion": """
Area under the target's probability, lower is better, ranked as for insertion. Fine maps are ahead even of
the oracle: a few scattered pixels of the mean colour take more from a digit than a connected part of it.
edges and center are the strongest rivals, since digits have edges and lie near the centre.
""",
    "sensitivity_n": """
Correlation of the sum of the map over random cells of 4 × 4 pixels with the drop of the logit without them,
for 2, 8 and 21 of the 64 cells. integrated_gradients, from a grey baseline that the mean fill nearly is,
and occlusion measure almost this. input_x_gradient beats edges, but by little more than the margin, so that
the quick budget leaves it undecided: where units saturate its amounts are wrong, though its places are
right. constant has the same sum in all sets of a size, which correlates with nothing.
""",
}


def cell(verdict: Verdict) -> str:
    """`0.41 [0.37, 0.45] pass`."""
    status = verdict.status.replace("_", " ")
    if verdict.status == "fail" and not verdict.required:
        status = "fail (not claimed)"
    if verdict.failed or verdict.status == "invalid":
        status = f"**{status}**"
    return f"{verdict.interval} {status}" if verdict.interval is not None else status


def rows(methods: Sequence[str], seeds: Sequence[int], text: Mapping[tuple[str, int], str]) -> Iterator[str]:
    yield "| method | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"
    yield "|---" * (len(seeds) + 1) + "|"
    for method in methods:
        yield f"| {method} | " + " | ".join(text[method, seed] for seed in seeds) + " |"


def cascade(methods: Sequence[str], found: Table, seed: int) -> Iterator[str]:
    """Similarity after each step of the cascade, and the mean of the other two similarities."""
    curves = {method: found[method, seed]["parameter_randomization"].evidence for method in methods}
    steps = max(curve["spearman"].shape[1] for curve in curves.values())
    yield f"The first draw of seed {seed}, after each step of the cascade from the output on, and the means"
    yield "of two other similarities over all steps:"
    yield ""
    yield "| method | " + " | ".join(f"step {step + 1}" for step in range(steps)) + " | magnitude | SSIM |"
    yield "|---" * (steps + 3) + "|"
    for method, curve in curves.items():
        means = [*curve["spearman"].mean(0).tolist()]
        means += [float(curve[name].mean()) for name in ("spearman_magnitude", "ssim")]
        yield f"| {method} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |"


def section(check: Axiom, found: Table, seeds: Sequence[int]) -> Iterator[str]:
    """The table of a check, and how to read it."""
    methods = (*GOOD, *CONTROLS)
    advice = "" if not check.claimed else " Gates only methods that claim it."
    yield f"{check.statement} Gate: {check.gate}.{advice}"
    yield ""
    yield from rows(methods, seeds, {key: cell(results[check.name]) for key, results in found.items()})
    if check.name in READINGS:
        yield ""
        yield READINGS[check.name].strip()
    if check.name == "parameter_randomization":
        yield ""
        yield from cascade(GOOD, found, seeds[0])


def contracts(found: Table, seeds: Sequence[int]) -> Iterator[str]:
    """How many checks of the contract pass and fail, by method and seed."""
    text = {
        key: summary([verdict for verdict in results.values() if verdict.family == "contract"])
        for key, results in found.items()
    }
    yield from rows((*GOOD, *CONTROLS), seeds, text)
    yield ""
    yield CONTRACT.strip()


def sections(path: Path) -> dict[str, str]:
    """What stands under each second-level heading of a file written before."""
    parts = path.read_text().split("\n## ")[1:] if path.exists() else []
    return {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--checks")
    parser.add_argument("--write", type=Path, default=Path(__file__).parent.parent / "docs" / "verdicts.md")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    known = xattr_check.checks()
    asked = [
        one for one in select(arguments.checks, known, "standard") if one.family not in ("retraining", "cost")
    ]
    by_budget = {
        budget: " or ".join(one.name for one in asked if one.cost == budget)
        for budget in ("quick", "standard")
    }
    subject = load_subject("digits")
    found: dict[tuple[str, int], dict[str, Verdict]] = {}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as storage:
        for seed in seeds:
            for method in (*CONTROLS, *GOOD):
                verdicts = [
                    verdict
                    for budget, names in by_budget.items()
                    if names
                    for verdict in run_battery(
                        f"xattr:{method}", subject, seed=seed, storage=storage, checks=names, budget=budget
                    )
                ]
                found[method, seed] = {verdict.check: verdict for verdict in verdicts}
                seconds = time.process_time() - started
                print(f"{seconds:5.0f} s  seed {seed}  {method}: {summary(verdicts)}", file=sys.stderr)
    texts = sections(arguments.write) if arguments.checks else {}
    if any(one.family == "contract" for one in asked):
        texts["contract"] = "\n".join(contracts(found, seeds))
    for one in asked:
        if one.family != "contract":
            texts[one.name] = "\n".join(section(one, found, seeds))
    order = ["contract", *(name for name in known if name in texts)]
    parts = [HEADER.strip(), *(f"## {name}\n\n{texts[name]}" for name in order if name in texts)]
    arguments.write.write_text("\n\n".join(parts) + "\n")
    print(f"{arguments.write}: {seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()
